"""What files of SAM and of SAM 2 have in common: the mask decoder's names, how they are recognised and measured."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert.backbone import arranged
from dataseg_jax.io.convert.form import Form
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.spec import ModelSpec, build

# ours: far beyond published models; a file may claim any size.
LARGEST_GRID, LARGEST_PATCH = 512, 64

_CROSS = {"self_attention": "self_attn", "token_to_image": "cross_attn_token_to_image",
          "image_to_token": "cross_attn_image_to_token"}  # fmt: skip
_LAYER = r"mask_decoder/layer_(\d+)/"


def places(table: Mapping[str, str]) -> dict[str, Callable[..., str]]:
    """Layers of ours -> theirs, one to one, as `Form.layers` has them."""
    return {ours: (lambda theirs=theirs: theirs) for ours, theirs in table.items()}


def transformer(
    root: str, norm: str, last_norm: str, mlp: Sequence[str] = ("lin1", "lin2"), out: str = "out_proj"
) -> dict[str, Callable[..., str]]:
    """The two-way transformer's layers below `root`, whose attention is named alike in all forms but for its output."""
    layers, attention = f"{root}.layers", {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": out}
    return {
        _LAYER + r"(\w+)/(q|k|v|out)": lambda i, part, p: f"{layers}.{i}.{_CROSS[part]}.{attention[p]}",
        _LAYER + r"norm(\d)": lambda i, k: f"{layers}.{i}.{norm}{k}",
        _LAYER + r"mlp/layer_([01])": lambda i, k: f"{layers}.{i}.mlp.{mlp[k]}",
        r"mask_decoder/last_token_to_image/(q|k|v|out)": lambda p: f"{root}.final_attn_token_to_image.{attention[p]}",
        r"mask_decoder/last_norm": lambda: f"{root}.{last_norm}",
    }


def hub_mlp(i: int) -> str:
    """Of the heads' MLPs, which all have three layers."""
    return ("proj_in", "layers.0", "proj_out")[i]


def recognise(names: Sequence[str], source: str, forms: Sequence[Form]) -> tuple[Form, str]:
    """The form of a file by its names, and the prefix that they carry.

    Raises:
      InputError: none fits, or more than one model is in the file.
    """
    found = [(form, n.removesuffix(form.anchor)) for form in forms for n in names if n.endswith(form.anchor)]
    if len(found) != 1:
        first, known = ", ".join(list(names)[:4]), ", ".join(form.anchor for form in forms)
        raise InputError(
            f"{source}: such names as {first} are not one {forms[0].family}'s; a file of one has exactly one of the "
            f"names {known}"
        )
    return found[0]


def shapes_of(spec: ModelSpec, size: int) -> dict:
    """The parameters of a promptable model, as shapes, for images of `size` pixels per side."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    return jax.eval_shape(build(spec).init, jax.random.key(0), image, no_prompts(1))["params"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The arrays of a file, from which a model's sizes are read; fields as `fill` takes them."""

    weights: Mapping[str, np.ndarray]
    form: Form
    prefix: str
    source: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.source} ({self.form.name})"

    def names(self, parameter: str) -> list[str]:
        """In the file."""
        return [self.prefix + name for name in self.form.sources(parameter)]

    def array(self, parameter: str, axes: int) -> np.ndarray:
        """The array of a parameter, or the first of its parts, in our layout.

        Raises:
          InputError: it is missing, or has other axes.
        """
        names = self.names(parameter)
        missing = [name for name in names if name not in self.weights]
        if missing:
            raise InputError(f"{self.where} is no {self.form.family}: {missing[0]} is missing")
        x = arranged(parameter, [self.weights[names[0]]], self.form)
        if x.ndim != axes or 0 in x.shape:
            raise InputError(f"{self.where}: {names[0]} makes {parameter} {list(x.shape)}; it has {axes} axes")
        return x

    def count(self, pattern: str) -> int:
        """How many numbers from 0 on appear in such names."""
        (sample,) = self.names(pattern.format(0))
        before, after = (re.escape(part) for part in sample.split("0", 1))
        numbers = {m[1] for name in self.weights if (m := re.fullmatch(f"{before}([0-9]{{1,4}}){after}", name))}
        return next(i for i in range(len(numbers) + 1) if str(i) not in numbers)
