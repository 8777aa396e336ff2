"""The floating-point operations of a train step, and the share of the devices' peak that it uses (MFU)."""

import dataclasses

import jax

from data.pipeline.mixture import beside_targets
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.tasks import TaskTable
from dataseg_jax.training import sharding
from experiments import build
from experiments.compile_ahead.devices import DEVICES, HLO_TYPES
from experiments.runtime.settings import Settings
from experiments.runtime.start import fresh
from experiments.runtime.start.batch_size import batch_shapes
from experiments.runtime.start.flops import flops


def step_flops(settings: Settings, batch: Batch, table: TaskTable) -> float:
    """FLOPs of one step over all devices, without what is computed twice to save memory; nothing is compiled.

    Args:
      batch: of all devices; arrays or shapes, as `table`.
    """
    # One device suffices to count operations, and parts one after another change nothing about them.
    bare = dataclasses.replace(settings, model=without_remat(settings.model), accumulate=1, fsdp=1)
    trainable = fresh.trainable(bare, sharding.make_mesh(devices=jax.local_devices()[:1]))
    return flops(trainable.step, trainable.shapes, *jax.tree.map(_shape, (batch, table)))


def share_of_an_image(settings: Settings, datasets: list[build.Dataset]) -> float:
    """The share of a second of all devices at their peak that an image takes in training; 0 for devices without a
    known peak. Times images per second it is the model FLOPs utilisation."""
    here = jax.devices()[0].device_kind
    device = next((device for device in DEVICES.values() if device.kind == here), None)
    if device is None:
        return 0.0
    beside = beside_targets(build.mixture_entries(datasets, settings))
    batch = batch_shapes(settings, beside, settings.batch_size)
    of_an_image = step_flops(settings, batch, build.task_table(datasets)) / settings.batch_size
    return of_an_image / (jax.device_count() * device.peak(HLO_TYPES.get(settings.model.dtype, "f32")))


def without_remat(spec: ModelSpec) -> ModelSpec:
    """The same network, which keeps what it would compute twice."""
    parts = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    kept = {key: part | {"remat": False} for key, part in parts.items() if isinstance(part, dict) and "remat" in part}
    return dataclasses.replace(spec, **kept)


def _shape(leaf) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
