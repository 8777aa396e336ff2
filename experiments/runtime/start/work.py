"""The floating-point operations of a train step, by which its use of a device is judged."""

import dataclasses

import jax

from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.tasks import TaskTable
from dataseg_jax.training import sharding
from experiments.runtime.flops import flops
from experiments.runtime.settings import Settings
from experiments.runtime.start import fresh


def step_flops(settings: Settings, batch: Batch, table: TaskTable) -> float:
    """FLOPs of one step over all devices, without what is computed twice to save memory; nothing is compiled.

    Args:
      batch: of all devices; arrays or shapes, as `table`.
    """
    # One device suffices to count operations, and parts one after another change nothing about them.
    bare = dataclasses.replace(settings, model=without_remat(settings.model), accumulate=1, fsdp=1)
    trainable = fresh.trainable(bare, sharding.make_mesh(devices=jax.local_devices()[:1]))
    return flops(trainable.step, trainable.shapes, *jax.tree.map(_shape, (batch, table)))


def without_remat(spec: ModelSpec) -> ModelSpec:
    """The same network, which keeps what it would compute twice."""
    parts = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    kept = {key: part | {"remat": False} for key, part in parts.items() if isinstance(part, dict) and "remat" in part}
    return dataclasses.replace(spec, **kept)


def _shape(leaf) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
