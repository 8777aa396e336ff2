"""The largest batch whose train step fits into the memory of the devices."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from data.pipeline.mixture import beside_targets
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import integer, json_object
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.training import sharding
from experiments import build
from experiments.runtime import hosts
from experiments.runtime.clips import clip_shapes, has_clips
from experiments.runtime.hosts.gather import gather_from_hosts
from experiments.runtime.memory import available
from experiments.runtime.settings import Settings
from experiments.runtime.start import fresh

SHARE = 0.85  # ours: of a device's memory that a step may take; the rest is for batches on their way and for scoring.
MOST = 64  # ours: images per device; more would not train better.
FILE = "batch_size.json"


def of_workdir(settings: Settings, workdir: str, datasets: list[build.Dataset]) -> int:
    """The batch size that a run of `batch_size` 0 began with, or the largest that fits; it is kept in a file.

    Raises:
      InputError: not even the smallest batch fits, or the file is damaged.
    """
    path = Path(workdir, FILE)
    if path.exists():
        size = integer(json_object(path, "batch size").get("batch_size"), f"{path}: batch_size", 1, 2**20)
        print(f"batch_size: {size}, as this run began", flush=True)
        return size
    size = min(gather_from_hosts(lambda: largest_batch(settings, datasets)))
    print(f"batch_size: {size}, the largest that fits; kept in {path}", flush=True)
    hosts.barrier("the batch size")  # None looks for the file when another has written it.
    if hosts.first():
        write_whole(path, f'{{"batch_size": {size}}}\n')
    return size


def largest_batch(settings: Settings, datasets: list[build.Dataset], limit: int | None = None) -> int:
    """The number of images of the largest batch whose train step fits into the devices' memory; at most `MOST` each.

    What the compiler allocates for a step is measured for two small batches. It grows about linearly, which tells the
    largest one; that one is compiled too, and made smaller until it fits.

    Args:
      datasets: those that the run trains on: their categories, and what images bring beside their targets.
      limit: bytes of each device that a step may take; None: `SHARE` of its memory.

    Raises:
      InputError: not even the smallest batch fits.
    """
    mesh = sharding.make_mesh(settings.fsdp)
    unit = mesh.size * settings.accumulate
    limit = limit or int(SHARE * _memory_of_a_device())
    one, two = (bytes_of_a_step(settings, datasets, mesh, count * unit) for count in (1, 2))
    if one > limit:
        raise InputError(
            f"config.batch_size=0: a step of {unit} images takes {one / 2**30:.2f} GiB, and a device "
            f"has {limit / 2**30:.2f} for it; smaller images or config.model.mask_decoder.remat=True take less"
        )
    count = min(1 + int((limit - one) / max(two - one, 1)), max(MOST // settings.accumulate, 1))
    while count > 1 and bytes_of_a_step(settings, datasets, mesh, count * unit) > limit:
        count = count * 9 // 10
    return count * unit


def bytes_of_a_step(settings: Settings, datasets: list[build.Dataset], mesh: jax.sharding.Mesh, batch: int) -> int:
    """Of each device: the state, the batch, and all that the compiled step allocates beside them."""
    table, shapes = build.task_table(datasets), _shapes_of(settings, datasets, batch)
    trainable = fresh.trainable(dataclasses.replace(settings, batch_size=batch), mesh)
    compiled = trainable.step.lower(trainable.shapes, shapes, table).compile()
    needs = compiled.memory_analysis()
    kept = needs.output_size_in_bytes - needs.alias_size_in_bytes
    return needs.argument_size_in_bytes + needs.temp_size_in_bytes + kept


def _memory_of_a_device() -> int:
    stats = jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] if stats and "bytes_limit" in stats else available() // jax.local_device_count()


def _shapes_of(settings: Settings, datasets: list[build.Dataset], batch: int) -> Batch:
    """The arrays of a batch of these datasets, the images' own words and known categories included."""
    return batch_shapes(settings, beside_targets(build.mixture_entries(datasets, settings)), batch)


def batch_shapes(settings: Settings, beside: Mapping[str, np.ndarray], batch: int) -> Batch:
    """The arrays of a batch with dense masks; `beside`: what an image brings beside its targets, `beside_targets`."""
    side, cells, targets = settings.image_size, settings.image_size // 4, settings.max_targets
    wire = {
        "image": ((side, side, 3), np.uint8),
        "labels": ((targets,), np.int32),
        "boxes": ((targets, 4), np.float32),
        "masks": ((targets, cells, cells), np.uint8),
        "pixel_valid": ((cells, cells), np.bool_),
        "valid": ((targets,), np.bool_),
        "task": ((), np.int32),
        "image_id": ((), np.int32),
        "size": ((2,), np.int32),
    } | {key: (value.shape, value.dtype) for key, value in beside.items()}
    if has_clips(settings.datasets):
        wire |= clip_shapes(settings)
    shapes = {key: jax.ShapeDtypeStruct((batch, *shape), dtype) for key, (shape, dtype) in wire.items()}
    return jax.eval_shape(expand_targets, shapes)
