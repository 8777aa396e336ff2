"""Which example of which dataset stands at every place of every batch: arithmetic on (seed, step), no state.

Every host computes the same answer for any step without reading the steps before it, so a run can be entered
anywhere, and a longer run begins with the draws of a shorter one.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from data.pipeline.randomness import bits, run_key, uniform
from dataseg_jax.errors import InputError

_BLOCK = 64  # Steps between two stored counters; at most so many steps are drawn again to start at any step.
_CHUNK = 64 * _BLOCK


class Phase(NamedTuple):
    """A stretch of training with fixed ratios. It lasts until the next phase begins.

    Attributes:
      start_step: its first step.
      ratios: dataset name -> relative frequency, at least 0.
      batch_size: examples per step, over all hosts.
      in_batch: draw a dataset for every place of the batch, not one for the whole batch.
    """

    start_step: int
    ratios: dict[str, float]
    batch_size: int
    in_batch: bool = False

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"ratios": dict(self.ratios)}


class Draws:
    """The draws of a whole run.

    Args:
      seed: any integer.
      phases: at least one; the first starts at step 0, starts increase.
      total_steps: length of the run; changes nothing about the steps within it.

    Attributes:
      names: all datasets of all phases in order of appearance; what `at` and `counters` index.

    Raises:
      InputError: a ratio is negative or not finite, all are 0, or the phases are out of order.
    """

    def __init__(self, seed: int, phases: tuple[Phase, ...], total_steps: int):
        _check(phases)
        self.names = tuple(dict.fromkeys(name for phase in phases for name in phase.ratios))
        self.total_steps = total_steps
        self._phases = phases
        self._key = run_key(seed)
        totals = []
        for start in range(0, total_steps, _CHUNK):
            counts = self._counts(start, min(start + _CHUNK, total_steps))
            totals.append(np.add.reduceat(counts, np.arange(0, len(counts), _BLOCK)))
        zero = np.zeros((1, len(self.names)), np.int64)
        self._counters = np.concatenate([zero, *totals]).cumsum(axis=0)

    def counters(self, step: int) -> np.ndarray:
        """int64[D], the examples of each dataset used by all steps before `step`."""
        if not 0 <= step <= self.total_steps:
            raise IndexError(f"step {step} is outside of the {self.total_steps} steps of this run")
        block = step // _BLOCK
        return self._counters[block] + self._counts(block * _BLOCK, step).sum(axis=0)

    def at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Datasets int64[B] and the running number of each example in its dataset, int64[B], of one batch."""
        phase = self.phase(step)
        dataset = np.broadcast_to(self._picks(phase, step, step + 1)[0], phase.batch_size)
        chosen = dataset[:, None] == np.arange(len(self.names))
        rank = (chosen.cumsum(axis=0) - 1)[np.arange(phase.batch_size), dataset]
        return dataset, self.counters(step)[dataset] + rank

    def phase(self, step: int) -> Phase:
        """The phase that `step` belongs to."""
        return next(phase for phase in reversed(self._phases) if phase.start_step <= step)

    def _counts(self, start: int, stop: int) -> np.ndarray:
        """int64[stop - start, D], the examples of each dataset that each step uses."""
        parts = [np.zeros((0, len(self.names)), np.int64)]
        ends = [phase.start_step for phase in self._phases[1:]] + [max(stop, self._phases[-1].start_step)]
        for phase, end in zip(self._phases, ends, strict=True):
            first, last = max(start, phase.start_step), min(stop, end)
            if first < last:
                picks = self._picks(phase, first, last)
                counts = np.stack([(picks == d).sum(axis=1) for d in range(len(self.names))], axis=1)
                parts.append(counts * (1 if phase.in_batch else phase.batch_size))
        return np.concatenate(parts)

    def _picks(self, phase: Phase, start: int, stop: int) -> np.ndarray:
        """int64[stop - start, 1 or batch size], the datasets drawn by the steps of one phase."""
        ratios = np.array([phase.ratios.get(name, 0.0) for name in self.names])
        places = phase.batch_size if phase.in_batch else 1
        draws = uniform(self._key, np.arange(start, stop)[:, None], np.arange(places))
        # A draw is below 1, so the division leaves it below the last bound, and ratio 0 is never drawn.
        bounds = ratios.cumsum() / ratios.sum()
        return np.searchsorted(bounds, draws, side="right")


class EpochOrder:
    """Running number of an example -> its index in the source; every epoch is another permutation.

    Args:
      key: 64 bits, see `randomness.dataset_key`.
      length: number of examples in the dataset.
    """

    def __init__(self, key: int, length: int):
        self._key, self._length = np.uint64(key), length
        self._recent: dict[int, np.ndarray] = {}

    def __getitem__(self, number: int) -> int:
        epoch, place = divmod(number, self._length)
        order = self._recent.get(epoch)
        if order is None:
            order = np.argsort(bits(self._key, np.array([epoch]), np.arange(self._length)), kind="stable")
            # Two epochs meet inside a batch, and between batches that threads read side by side.
            self._recent = dict([*self._recent.items()][-1:]) | {epoch: order}
        return int(order[place])


def _check(phases: tuple[Phase, ...]) -> None:
    starts = [phase.start_step for phase in phases]
    if not starts or starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts)):
        raise InputError(f"history of the mixture: phases must start at step 0 and at rising steps, not {starts}")
    for phase in phases:
        for name, ratio in phase.ratios.items():
            if not (math.isfinite(ratio) and ratio >= 0):
                raise InputError(f"dataset {name}: ratio must be a finite number of at least 0, not {ratio}")
        if sum(phase.ratios.values()) <= 0:
            raise InputError(f"datasets {', '.join(phase.ratios) or '(none)'}: at least one ratio must be above 0")
        if phase.batch_size <= 0:
            raise InputError(f"batch size must be above 0, not {phase.batch_size}")
