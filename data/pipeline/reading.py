"""Batches of a mixture read ahead of their use, in threads or in worker processes, in order and whole.

What is read depends on neither: any number of workers, threads and hosts gives the same batches, and a run is
resumed with another.
"""

import dataclasses
import gc
import math
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import grain
import numpy as np

from data.pipeline.mixture import Mixture
from data.pipeline.substitutes import Failure
from dataseg_jax.errors import InputError, WorkerDied

HOST_FIELDS = ("dropped",)  # Fields of a wire batch that are counted on the host and not sent to the device.


class Unreadable:
    """The images of a run that could not be read: each is reported and counted once, and too many end the run.

    The count is that of this host since the program was started: a resumed run counts anew.

    Args:
      limit: how many different images may fail; 0 = none.
      report: called with one line for each.

    Attributes:
      counts: dataset -> different images so far.
    """

    def __init__(self, limit: int = 0, report: Callable[[str], None] = print):
        self.counts: Counter[str] = Counter()
        self._limit, self._report = limit, report
        self._reasons: dict[tuple[str, int], str] = {}

    def add(self, failures: Iterable[Failure]) -> None:
        """Adds the failures of one batch.

        Raises:
          InputError: more than `limit` images; names the last one, and says how many were reported before.
        """
        for failure in failures:
            place = failure.dataset, failure.index
            if place in self._reasons:
                continue
            self._reasons[place] = failure.reason
            self.counts[failure.dataset] += 1
            count = len(self._reasons)
            if count > self._limit:
                before = f", and {count - 1} before it that were named" if count > 1 else ""
                raise InputError(f"{failure.reason}{before}; input.max_unreadable={self._limit}, no more are replaced")
            self._report(
                f"unreadable, replaced ({count} of at most {self._limit}): {failure.dataset}: {failure.reason}"
            )


def iterate(
    mixture: Mixture,
    start_step: int = 0,
    *,
    shard: int = 0,
    shards: int = 1,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
    unreadable: Unreadable | None = None,
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """Yields (step, dataset, batch) in order, to the last step, and reads ahead. Close it, or read it to its end.

    Args:
      mixture: what to read.
      start_step: the first step to yield.
      shard: this host's number among `shards`.
      workers: processes, each with its own `threads` and its own copy of the sources; 0 = threads of this process
        only. Processes need parsed absl flags, as `absl.app.run` leaves them.
      threads: threads per process, at least 1.
      prefetch: batches to hold ready; with workers rounded up to two each, in shared memory. Every thread is
        reading one more.
      unreadable: collects what could not be read, in the order of the steps; None: the first failure raises.

    Raises:
      InputError: too many images cannot be read; the message names the file.
      WorkerDied: a worker process was killed.
    """
    unreadable = unreadable or Unreadable()
    cv2.setNumThreads(1)  # Batches are read side by side already; threads inside each would only compete.
    source = _Steps(mixture, start_step, shard, shards)
    workers = min(workers, len(source))
    ahead = threads if workers else max(prefetch, threads)
    batches = grain.MapDataset.source(source).to_iter_dataset(grain.ReadOptions(threads, ahead))
    if workers:
        # grain holds so many batches twice, in the worker's queue and in front of it.
        each = math.ceil(prefetch / workers / 2) or 1
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=each)
        batches = batches.mp_prefetch(options, worker_init_fn=_start_worker)
    iterator, ended = iter(batches), None
    try:
        # Makes the iterators of all workers now: `close` would miss those that have not produced a batch yet.
        iterator.get_state()
        iterator.start_prefetch()
        for step in range(start_step, mixture.total_steps):
            batch, failures, ended = _next(iterator)
            if ended:
                break
            # Out of shared memory at once: consumers keep batches, and so do tracebacks, up to the exit.
            if workers:
                batch = {key: np.array(value) for key, value in batch.items()}
            unreadable.add(failures)
            yield step, mixture.dataset(step), batch
    finally:
        iterator.close()
        if workers:
            # The error that ended a worker holds its last batch in a reference cycle, and shared memory is scarce.
            del iterator
            gc.collect()
    if ended:
        raise ended


@dataclasses.dataclass(frozen=True, eq=False)
class _Steps:
    """The batches from step `start` on, as a source for grain."""

    mixture: Mixture
    start: int
    shard: int
    shards: int

    def __len__(self) -> int:
        return max(0, self.mixture.total_steps - self.start)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], list[Failure]]:
        return self.mixture.read(self.start + index, self.shard, self.shards)


def _next(batches: Iterator[Any]) -> tuple[dict[str, np.ndarray] | None, list[Failure], Exception | None]:
    """(batch, failures, None), or (None, [], the error in one line) if there is no batch.

    The error is returned, not raised: its traceback would keep grain's iterators and their batches alive.
    """
    try:
        return *next(batches), None
    except InputError as error:
        return None, [], InputError(str(error))
    except RuntimeError as error:
        if not str(error).startswith("Worker process was terminated"):
            raise
        code = str(error).partition("exit code ")[2].partition(".")[0]
        line = (
            f"a worker process that reads images ended with exit code {code} (-9: killed, often out of memory; "
            "-7: /dev/shm is full); try fewer input.workers or a smaller input.prefetch"
        )
        return None, [], WorkerDied(line)


def _start_worker(index: int, count: int) -> None:
    """Sets up a worker process: no threads of OpenCV, no signals, and an end when the main process ends."""
    cv2.setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # They reach the whole group; the main process ends the workers.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this worker when its main process ends: one that is killed cannot end its workers itself."""
    multiprocessing.parent_process().join()
    os._exit(1)
