"""What an evaluation found out about one dataset, for the files that report it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dataseg_jax.inference.tasks.referring import LIKELY
from dataseg_jax.results.thresholds import Thresholds
from experiments.build import Dataset
from experiments.evaluation.report import BestAndWorst
from experiments.evaluation.scorers import TASK_OF
from experiments.runtime.settings import EvalSettings


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetResult:
    """One dataset's scores and images.

    Attributes:
      dataset: which one.
      supervision: what the model learned these categories from, see `supervision_of`.
      scores: metric -> fraction; `per_class`: class -> metric -> fraction or count.
      thresholds: that it was scored with, None where none are used.
      rows: the first images, of `report.overlays.overlay_row`.
      best_and_worst: its best and its worst images, and the scores of all.
      words: (trained name, nearest word, whether it is the right one), of datasets predicted with other words.
      confusion: of semantic datasets, int64[K, K + 1] pixels, see `SemanticIoU`; else None.
    """

    dataset: Dataset
    supervision: str
    scores: dict
    thresholds: Thresholds | None
    rows: tuple[tuple[np.ndarray, ...], ...] = ()
    best_and_worst: BestAndWorst = dataclasses.field(default_factory=lambda: BestAndWorst(0))
    words: tuple[tuple[str, str, bool], ...] = ()
    confusion: np.ndarray | None = None

    @property
    def task(self) -> str:
        return TASK_OF[self.dataset.task.kind]


def supervision_of(dataset: Dataset, training: Sequence[Dataset]) -> str:
    """What was trained on: annotations of the dataset of the same name, or else of one with the same categories."""
    named = [d for d in training if d.name == dataset.name]
    alike = named or [d for d in training if d.vocabulary.spoken == dataset.vocabulary.spoken]
    if not alike:
        return "not trained on"
    return "boxes only" if alike[0].task.kind == "boxes" else f"{alike[0].task.kind} masks"


def thresholds_of(dataset: Dataset, settings: EvalSettings) -> Thresholds | None:
    """Those of the dataset, else those of the run; None for tasks without: average precision needs all predictions."""
    task = TASK_OF[dataset.task.kind]
    if task == "referring":
        score = dataset.settings.score_threshold
        return dataclasses.replace(LIKELY, score=score) if score >= 0 else LIKELY
    if task != "panoptic":
        return None
    own = dataset.settings.score_threshold, dataset.settings.overlap_threshold
    common = settings.score_threshold, settings.overlap_threshold
    return Thresholds(*(mine if mine >= 0 else all_ for mine, all_ in zip(own, common, strict=True)))
