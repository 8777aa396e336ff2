"""States of the bank on the host, to return to: as many as a fixed number, however long the video."""

import dataclasses
from collections.abc import Hashable, Sequence

import jax
import numpy as np

from dataseg_jax.networks.memory.bank import Bank

LIMIT = 12  # ours: of snapshots. At the published size each has 3.2 MB per object.


@dataclasses.dataclass
class Snapshots:
    """Banks as they were before frames of one pass, without their prompted frames.

    Attributes:
      every: frames from one snapshot to the next.
    """

    every: int
    _kept: dict[int, dict[Hashable, Bank]] = dataclasses.field(default_factory=dict)  # In the order of the pass.

    def offer(self, frame: int, bank: Bank, objects: Sequence[Hashable]) -> None:
        """Takes the bank before `frame`, if it is time for one; row i is of object i."""
        newest = next(reversed(self._kept), None)
        if newest is not None and abs(frame - newest) < self.every:
            return
        c = bank.prompted
        recent = jax.device_get(jax.tree.map(lambda x: x[: len(objects), c:], bank))
        self._kept[frame] = {name: jax.tree.map(lambda x, i=i: x[i], recent) for i, name in enumerate(objects)}
        if len(self._kept) > LIMIT:
            del self._kept[self._least(frame)]

    def _least(self, newest: int) -> int:
        """The snapshot whose loss matters least: one among close neighbours, long ago. The first one always stays."""
        frames = list(self._kept)
        gaps = {t: abs(after - before) / (abs(newest - before) + 1)
                for before, t, after in zip(frames, frames[1:], frames[2:], strict=False)}  # fmt: skip
        return min(gaps, key=gaps.get)

    def before(self, frame: int, sign: int) -> int | None:
        """The last snapshot that is not after `frame`, in the direction of the pass."""
        return next((t for t in reversed(self._kept) if (frame - t) * sign >= 0), None)

    def restore(self, frame: int, objects: Sequence[Hashable], size: int, empty: Bank) -> Bank:
        """The bank of snapshot `frame` for these objects, padded to `size` rows, without prompted frames.

        An object that was not there has a row of `empty`.
        """
        kept = self._kept[frame]
        none = jax.tree.map(lambda x: x[0], empty)
        banks = [kept.get(name, none) for name in objects] + [none] * (size - len(objects))
        return jax.tree.map(lambda *x: np.stack(x), *banks)

    def drop_after(self, frame: int, sign: int) -> None:
        """Forgets the snapshots after `frame`, in the direction of the pass."""
        self._kept = {t: kept for t, kept in self._kept.items() if (frame - t) * sign >= 0}

    def clear(self) -> None:
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
