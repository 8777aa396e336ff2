"""Wire batches on their way to the devices: what the host keeps of one, and what crosses."""

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

_ALSO_ON_HOST = ("task", "image_id")  # To say of what was counted, and of what went wrong, which it was.


@dataclasses.dataclass(frozen=True, eq=False)
class Fed:
    """A batch for a step.

    Attributes:
      batch: on the devices, or on its way there.
      host: of this host's part of it, `HOST_FIELDS`, `task` and `image_id`.
      waited: seconds until it was read.
    """

    batch: Batch
    host: dict[str, np.ndarray]
    waited: float


def feed(batches: Iterator[tuple[int, int, dict[str, np.ndarray]]], mesh: Mesh) -> Iterator[Fed]:
    """Sends what `data.pipeline.reading.iterate` yields to the devices, each host its part; does not wait for arrival.

    A batch is sent when all hosts have read their part of it: where one cannot, all end after the same step.
    """
    place = batch_sharding(mesh)
    # Said, for masks that are not sent but made would be whole on every device, and hosts cannot move them for a step.
    expand = jax.jit(expand_targets, out_shardings=place)
    while True:
        asked = time.perf_counter()
        with hosts.together("a batch"):
            _, _, wire = next(batches, (None, None, None))
        waited = time.perf_counter() - asked
        if wire is None:
            return
        host = {key: wire[key] for key in (*HOST_FIELDS, *_ALSO_ON_HOST)}
        crossing = {key: value for key, value in wire.items() if key not in HOST_FIELDS}
        crossing = {key: jax.make_array_from_process_local_data(place, value) for key, value in crossing.items()}
        yield Fed(expand(crossing), host, waited)
