"""Pretrained weights of the backbone and of a text encoder that is trained: read before anything slow, placed once at a
fresh start; those of the backbone are reported in a file."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import Report, convert_backbone
from dataseg_jax.io.weight_files import find_weights, read_weights
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.networks import spec as models
from dataseg_jax.text.clip.spaces import CLIP_SPACES
from dataseg_jax.text.clip.weights import load_params
from experiments.runtime import hosts
from experiments.runtime.checkpoints.manager import FOLDER
from experiments.runtime.settings import Settings

SCRATCH = "random"  # In place of weights, where a part that wants some is to have none.


@dataclasses.dataclass(frozen=True)
class Weights:
    """Parameters of the backbone by flat name, and where each came from; and those of the text encoder, by flat name
    too, and their source. Of a part that has none: {}."""

    backbone: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    report: Report | None = None
    text: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    text_source: str = ""


def read(spec: models.ModelSpec, image_size: int, source: str) -> Weights:
    """Reads a file or a hub name, and maps it to the backbone of `spec`; nothing is computed on a device.

    Raises:
      InputError: the file cannot be read, does not fit the backbone, or is for pixels of another mean or deviation.
    """
    backbone = models.build(spec).backbone

    def init(image):
        return backbone.init(jax.random.key(0), image)["params"]

    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    weights = Weights(*convert_backbone(read_weights(source), jax.eval_shape(init, image), source))
    if pixels := weights.report.pixels:
        for name, value, found in zip(("mean", "std"), pixels, (spec.mean, spec.std), strict=True):
            if tuple(found) != (value,) * 3:
                raise InputError(
                    f"{source} was trained on pixels of mean {pixels[0]:g} and deviation {pixels[1]:g}, and "
                    f"config.model.{name} is {tuple(found)}: set config.model.{name}=({value}, {value}, {value})"
                )
    return weights


def read_for_a_fresh_start(settings: Settings, workdir: str) -> Weights | None:
    """The weights that this run starts from; None where it starts from others, from scratch, or continues.

    Raises:
      InputError: as `of_settings`, or nothing is given for a norm that has the statistics of pre-training.
    """
    source = settings.pretrained.backbone
    if any(Path(workdir, FOLDER).glob("[0-9]*")):
        return None
    if settings.init_from:
        for key, given in dataclasses.asdict(settings.pretrained).items():
            if given not in ("", SCRATCH):
                print(f"init_from replaces every weight; pretrained.{key}={given} is not read", flush=True)
        return None
    if not source and getattr(models.build(settings.model).backbone, "norm", "") == "frozen_batch":
        raise InputError(
            'config.model.backbone.norm="frozen_batch" without weights normalises nothing, for its statistics would '
            f"stay at mean 0 and variance 1; give --config.pretrained.backbone=WEIGHTS, or train from scratch with "
            f'norm="group"; ={SCRATCH} in place of weights does so all the same'
        )
    return of_settings(settings)


def of_settings(settings: Settings) -> Weights | None:
    """The weights that the settings name; None where all start from scratch.

    Raises:
      InputError: as `read`; or those of the text encoder cannot be read, or are another encoder's.
    """
    source, weights = settings.pretrained.backbone, Weights()
    if source not in ("", SCRATCH):
        weights = read(settings.model, settings.image_size, source)
    if settings.model.text and settings.pretrained.text != SCRATCH:
        space = CLIP_SPACES[settings.text_space]
        path = find_weights(settings.pretrained.text or space.hub, "pretrained.text")
        text = flatten_dict(load_params(path, space), sep="/")
        weights = dataclasses.replace(weights, text=text, text_source=str(path))
    return weights if weights.backbone or weights.text else None


def place(weights: Weights, params: dict, workdir: str) -> dict:
    """`params` with those that the weights have replaced where they live; the backbone's report goes to
    WORKDIR/pretrained.txt."""
    if weights.report:
        if hosts.first():
            write_whole(Path(workdir, "pretrained.txt"), weights.report.table())
        print(f"{weights.report.summary()}; listed in pretrained.txt", flush=True)
    if weights.text:
        print(f"all parameters of the text encoder from {weights.text_source}", flush=True)
    given = {"backbone": weights.backbone, "text": weights.text}
    return params | {part: _replaced(params[part], arrays) for part, arrays in given.items() if arrays}


def _replaced(params: dict, arrays: dict[str, np.ndarray]) -> dict:
    flat = flatten_dict(params, sep="/")
    for name, array in arrays.items():
        flat[name] = jax.device_put(array.astype(flat[name].dtype), flat[name].sharding)
    return unflatten_dict(flat, sep="/")
