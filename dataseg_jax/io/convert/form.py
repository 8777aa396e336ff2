"""One way of naming a backbone's parameters in a file."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

# flax's leaf -> torch's, of convolutions, linear layers, layer norms and batch norms.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "frozen_scale": "weight",
    "frozen_bias": "bias",
    "frozen_mean": "running_mean",
    "frozen_var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Form:
    """One way of naming a backbone's parameters.

    Attributes:
      name: for messages.
      family: of backbones: "ResNet", "ViT", "EfficientNet-Lite" or "Swin".
      anchor: a name that every file of this form has, and no file of another one.
      layers: pattern over the backbone's layers -> the file's, from the pattern's groups; several are joined along the
        outputs.
      left_out: pattern over names in a file -> why such an array is not loaded.
      pixels: mean and deviation of the pixels that such weights want, in every channel; None: not known.
      may_lack: pattern at the start of parameters that keep their initial values where the file has none.
      ours: kernels have flax's layout.
    """

    name: str
    family: str
    anchor: str
    layers: Mapping[str, Callable[..., str | Sequence[str]]]
    left_out: Mapping[str, str]
    pixels: tuple[float, float] | None = None
    may_lack: str = ""
    ours: bool = False

    def sources(self, parameter: str) -> tuple[str, ...]:
        """The names in a file that fill a parameter; none if the form does not know it."""
        layer, _, leaf = parameter.rpartition("/")
        for pattern, theirs in self.layers.items():
            if match := re.fullmatch(pattern, parameter):  # Parameters outside of layers, such as positions.
                return _several(theirs(*map(_number, match.groups())))
            if leaf in LEAVES and (match := re.fullmatch(pattern, layer)):
                layers = theirs(*map(_number, match.groups()))
                return tuple(f"{x}.{LEAVES[leaf]}" for x in _several(layers))
        return ()

    def why_left_out(self, name: str, prefix: str) -> str | None:
        """Why this name of a file, whose backbone lies below `prefix`, is not loaded; None if it should be."""
        for part in prefix.split(".")[:-1]:  # Heads are beside the backbone: model.vit., model.decoder.
            if not name.startswith(f"{part}."):
                break
            name = name.removeprefix(f"{part}.")
        return next((why for pattern, why in self.left_out.items() if re.search(pattern, name)), None)


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text
