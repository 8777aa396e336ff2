"""Small holes of tracked masks are filled and small islands removed, on the mask logits, as SAM 2's predictors do."""

import dataclasses

import cv2
import jax
import numpy as np

from dataseg_jax.errors import InputError

GRID = 256  # Cells per side of the published models' mask logits, whose cells areas are counted in.
# ours: the released code's values. A filled hole has 0.1 in its video predictor; an island -10 in its image predictor.
FILLED, REMOVED = 0.1, -10.0


@dataclasses.dataclass(frozen=True)
class Cleaning:
    """Which areas are too small; regions are 8-connected.

    Attributes:
      holes: regions of the background of at most so many cells become foreground, those at the edge too.
      islands: regions of the foreground of at most so many cells become background, after the holes.
    """

    holes: int
    islands: int

    @classmethod
    def at(cls, cells: int, holes: int, islands: int) -> "Cleaning":
        """Areas of a grid of 256 x 256 cells, for one of `cells` x `cells`: in proportion, rounded down.

        Raises:
          InputError: an area is negative.
        """
        for name, area in ("holes", holes), ("islands", islands):
            if area < 0:
                raise InputError(f"{name}={area}: it is an area, 0 to leave them as they are")
        return cls(*(area * cells**2 // GRID**2 for area in (holes, islands)))

    def __call__(self, logits: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        """Logits [O, y, x] without small regions; with nothing to do they stay where they are, on the device."""
        if not (self.holes or self.islands):
            return logits
        logits = np.array(logits)
        for one in logits:
            if self.holes:
                one[_small(one <= 0, self.holes)] = FILLED
            if self.islands:
                one[_small(one > 0, self.islands)] = REMOVED
        return logits


def _small(mask: np.ndarray, most: int) -> np.ndarray:
    """The regions of a mask bool[y, x] that have at most so many cells."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= most
    small[0] = False  # All that is not in the mask.
    return small[labels]
