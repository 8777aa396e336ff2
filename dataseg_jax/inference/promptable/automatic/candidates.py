"""The masks that are still in the race, and how many each filter has taken out of it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """n masks of an image; within a crop, boxes and points are relative to it.

    Attributes:
      iou: float32[n], as predicted.
      stability: float32[n].
      points: float64[n, 2], x and y of the point that each answers.
      boxes: int64[n, 4], first and last column and row as x0 y0 x1 y1, all inclusive.
      crops: int64[n, 4], the crop of each, x0 y0 x1 y1 in the image, the last two exclusive.
      runs: run lengths of each in the whole image, as `results.rle.runs`.
    """

    iou: np.ndarray
    stability: np.ndarray
    points: np.ndarray
    boxes: np.ndarray
    crops: np.ndarray
    runs: list[list[int]]

    def __len__(self) -> int:
        return len(self.runs)

    def take(self, index: np.ndarray) -> "Candidates":
        """Those of int[m], in its order."""
        arrays = (getattr(self, field.name)[index] for field in dataclasses.fields(self)[:-1])
        return Candidates(*arrays, [self.runs[i] for i in index])


def joined(parts: list[Candidates]) -> Candidates:
    """At least one, one after the other."""
    arrays = (
        np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Candidates)[:-1]
    )
    return Candidates(*arrays, [runs for part in parts for runs in part.runs])


@dataclasses.dataclass(frozen=True)
class Counts:
    """Masks that the predictor gave, and those that each filter dropped; what is left is in the records.

    Attributes:
      given: three a point, in all crops.
      unsure: of a predicted IoU that is too low.
      unstable: of a stability that is too low, empty ones among them.
      large: that cover too much of the image.
      cut: at an edge of their crop that is not one of the image.
      duplicates: suppressed within a crop, between crops, or after small regions were removed.
      over_limit: dropped unseen by a suppression that takes no more; 0 where the result is exactly the original's.
    """

    given: int = 0
    unsure: int = 0
    unstable: int = 0
    large: int = 0
    cut: int = 0
    duplicates: int = 0
    over_limit: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(a + b for a, b in pairs))
