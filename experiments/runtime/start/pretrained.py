"""Pretrained weights of the backbone: read before anything slow, placed once at a fresh start, reported in a file."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.io.convert import Report, convert_backbone
from dataseg_jax.io.weight_files import read_weights
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.networks import spec as models
from experiments.runtime import hosts
from experiments.runtime.checkpoints.manager import FOLDER
from experiments.runtime.settings import Settings

SCRATCH = "random"  # In place of weights, where a backbone that wants some is to have none.


@dataclasses.dataclass(frozen=True)
class Weights:
    """Parameters of the backbone by flat name, and where each came from."""

    backbone: dict[str, np.ndarray]
    report: Report


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
    """The backbone weights that this run starts from; None where it starts from others, from scratch, or continues.

    Raises:
      InputError: as `read`, or nothing is given for a norm that has the statistics of pre-training.
    """
    source = settings.pretrained.backbone
    if any(Path(workdir, FOLDER).glob("[0-9]*")):
        return None
    if settings.init_from:
        if source not in ("", SCRATCH):
            print(f"init_from replaces every weight; pretrained.backbone={source} is not read", flush=True)
        return None
    if not source and getattr(models.build(settings.model).backbone, "norm", "") == "frozen_batch":
        raise InputError(
            'config.model.backbone.norm="frozen_batch" without weights normalises nothing, for its statistics would '
            f"stay at mean 0 and variance 1; give --config.pretrained.backbone=WEIGHTS, or train from scratch with "
            f'norm="group"; ={SCRATCH} in place of weights does so all the same'
        )
    if source in ("", SCRATCH):
        return None
    return read(settings.model, settings.image_size, source)


def place(weights: Weights, params: dict, workdir: str) -> dict:
    """`params` with those of the backbone replaced where they live; the report goes to WORKDIR/pretrained.txt."""
    backbone = flatten_dict(params["backbone"], sep="/")
    for name, array in weights.backbone.items():
        backbone[name] = jax.device_put(array.astype(backbone[name].dtype), backbone[name].sharding)
    if hosts.first():
        write_whole(Path(workdir, "pretrained.txt"), weights.report.table())
    print(f"{weights.report.summary()}; listed in pretrained.txt", flush=True)
    return {**params, "backbone": unflatten_dict(backbone, sep="/")}
