"""What a report shows of a dataset, and the images worth keeping for it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dataseg_jax.errors import InputError

# Task -> (score of a class that bars show, scores that dots show), keys of the metrics' results by class.
CLASS_SCORES = {
    "panoptic": ("pq", ("sq", "rq")),
    "semantic": ("iou", ("accuracy",)),
    "instance": ("mask_ap", ("mask_ap50",)),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One image of the dataset with its answer.

    Attributes:
      name: file or id, as a person would look for it.
      score: fraction, the image's own score.
      columns: what stands side by side, (caption, uint8[H, W, 3]).
      note: one line more, such as why nothing was found; "" for none.
    """

    name: str
    score: float
    columns: tuple[tuple[str, np.ndarray], ...]
    note: str = ""


class Extremes:
    """Keeps the best and the worst of many images, and the scores of all.

    An image is drawn only when it is kept, since drawing costs more than scoring.

    Args:
      most: images to keep at either end.

    Attributes:
      scores: the scores of all images so far.
    """

    def __init__(self, most: int):
        if most < 0:
            raise InputError(f"the number of best and worst images must be at least 0, not {most}")
        self._most = most
        self._cases: list[Case] = []
        self.scores: list[float] = []

    def add(self, score: float | None, draw: Callable[[float], Case]) -> None:
        """Adds an image; `score` is None where it has none (nothing to find, and nothing found)."""
        if score is None:
            return
        self.scores.append(score)
        ranked = sorted(case.score for case in self._cases)
        full = len(ranked) >= 2 * self._most
        if self._most and (not full or score < ranked[self._most - 1] or score > ranked[-self._most]):
            self._cases.append(draw(score))
            self._cases.sort(key=lambda case: case.score)
            if full:
                del self._cases[self._most]

    @classmethod
    def joined(cls, parts: Sequence["Extremes"]) -> "Extremes":
        """Those of all images, from those of several shares of them."""
        whole = cls(parts[0]._most)
        # By name, so that images of one score stand in one order, however many hosts shared them.
        for case in sorted((case for part in parts for case in part._cases), key=lambda case: case.name):
            whole.add(case.score, lambda score, case=case: case)
        whole.scores = [score for part in parts for score in part.scores]
        return whole

    @property
    def worst(self) -> tuple[Case, ...]:
        """Ascending; the lower half while there are few."""
        return tuple(self._cases[: len(self._cases) // 2])

    @property
    def best(self) -> tuple[Case, ...]:
        """Descending; the upper half while there are few."""
        return tuple(reversed(self._cases[len(self._cases) // 2 :]))


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetReport:
    """The scores of one dataset.

    Attributes:
      name: what the config calls it.
      task: panoptic, semantic or instance.
      about: lines of facts, (what, value): form of supervision, number of images, thresholds, ...
      scores: (what, fraction), the headline first.
      per_class: class -> {score: fraction or count}.
      image_scores: one fraction an image.
      best: descending; worst: ascending.
      worst: see `best`.
    """

    name: str
    task: str
    about: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, float], ...]
    per_class: dict[str, dict[str, float]]
    image_scores: tuple[float, ...] = ()
    best: tuple[Case, ...] = ()
    worst: tuple[Case, ...] = ()
