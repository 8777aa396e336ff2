"""Batches on their way from the host to the devices: what the host keeps of one, and what is transferred."""

import dataclasses
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from data.pipeline.reading import HOST_FIELDS
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.training.sharding import batch_sharding
from experiments.runtime import hosts

_ALSO_ON_HOST = ("task", "image_id")  # Names the images behind a count or an error.


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceBatch:
    """A batch for a step.

    Attributes:
      batch: on the devices, or on its way there.
      host: of this host's part of it, `HOST_FIELDS`, `task` and `image_id`.
      waited: seconds until it was read.
    """

    batch: Batch
    host: dict[str, np.ndarray]
    waited: float


def device_batches(batches: Iterator[tuple[int, int, dict[str, np.ndarray]]], mesh: Mesh) -> Iterator[DeviceBatch]:
    """Sends what `data.pipeline.reading.iterate` yields to the devices, each host its part; does not wait for arrival.

    A batch is sent when all hosts have read their part of it: where one cannot, all end after the same step.
    """
    place = batch_sharding(mesh)
    # Explicit, since masks that are made on the devices would else be whole on each of them, and hosts could not move
    # them for a step.
    expand = jax.jit(expand_targets, out_shardings=place)
    while True:
        asked = time.perf_counter()
        with hosts.together("a batch"):
            _, _, wire = next(batches, (None, None, None))
        waited = time.perf_counter() - asked
        if wire is None:
            return
        host = {key: wire[key] for key in (*HOST_FIELDS, *_ALSO_ON_HOST)}
        transferred = {
            key: jax.make_array_from_process_local_data(place, value)
            for key, value in wire.items()
            if key not in HOST_FIELDS
        }
        yield DeviceBatch(expand(transferred), host, waited)
