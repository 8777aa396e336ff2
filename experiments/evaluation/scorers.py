"""Scores of a dataset by the metric of its task, and of each of its images alone.

Each image is scored on its own and added later, so that threads and hosts can share the work.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.example import Example
from data.pipeline.phrases import normalised
from dataseg_jax.metrics import ForegroundMeasures, InstanceAP, PanopticQuality, ReferringIoU, SemanticIoU
from dataseg_jax.metrics.clicks import ClickIoU
from dataseg_jax.metrics.federated import MOST_PREDICTIONS, federated
from dataseg_jax.metrics.predicted_iou import IoURankCorrelation
from dataseg_jax.results.coco import corners_to_coco
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.text import Vocabulary, phrase_vocabulary
from experiments.build import Dataset
from experiments.evaluation.clicks import ClickedSegmentation, objects_of
from experiments.evaluation.instance_quality import instance_quality
from experiments.evaluation.instance_truth import InstanceTruth

TASK_OF = {
    "panoptic": "panoptic", "semantic": "semantic", "instance": "instance", "boxes": "instance",
    "foreground": "foreground", "referring": "referring", "prompts": "prompts", "video": "video",
}  # fmt: skip
HEADLINE = {
    "panoptic": "pq", "semantic": "miou", "instance": "mask_ap", "foreground": "s_measure", "referring": "miou",
    "prompts": "miou_1", "video": "jf",
}  # fmt: skip


class PanopticScorer:
    """Panoptic quality.

    Attributes:
      state: of all images that were added; states of several hosts can be merged.
    """

    def __init__(self, dataset: Dataset, objects: InstanceTruth | None = None, ignore_skipped: bool = False):
        """`objects` and `ignore_skipped` are for instances alone."""
        self.vocabulary, self.objects, self.ignore_skipped = dataset.vocabulary, objects, ignore_skipped
        self.state: Any = self.empty()

    def empty(self):
        return PanopticQuality(len(self.vocabulary), self.vocabulary.is_thing, self.vocabulary.names)

    def score(self, example: Example, result: Segmentation) -> tuple[Any, float | None]:
        """The state and the score of one image (None: nothing to find, and nothing found); thread-safe."""
        state = self.empty()
        truth = [{"id": i + 1, "category": int(k), "iscrowd": 0} for i, k in enumerate(example.labels)]
        guesses = [{"id": s.id, "category": s.category} for s in result.segments]
        state.update(np.maximum(example.segments + 1, 0), truth, result.ids, guesses)
        return state, state.compute().get("pq")

    def words(self, examples: Sequence[Example]) -> Vocabulary | list[Vocabulary]:
        """What is asked of these images: the vocabulary of the dataset, or one for each image."""
        return self.vocabulary

    def add(self, state) -> None:
        """Adds the state that `score` returned for an image."""
        self.state = self.state.merge(state)

    def truth(self, example: Example) -> Mapping[str, Any]:
        """What `overlay_row` draws as the ground truth: `labels`, and `segments` or `objects`."""
        return {"segments": np.maximum(example.segments + 1, 0), "labels": example.labels}

    def compute(self) -> dict:
        return self.state.compute()


class SemanticScorer(PanopticScorer):
    """Mean intersection over union."""

    def empty(self):
        return SemanticIoU(len(self.vocabulary), self.vocabulary.names)

    def score(self, example: Example, result: Segmentation):
        state = self.empty()
        state.update(example.categories, result.categories)
        return state, state.compute().get("miou")


class InstanceScorer(PanopticScorer):
    """Mask AP against `objects`, and box AP of models that have boxes; box AP alone where there are no masks.

    `ignore_skipped` decides how objects without a mask count, see `InstanceAP`. The score of one image is
    `instance_quality`, since AP is a property of a whole set.
    """

    def empty(self):
        most = MOST_PREDICTIONS if self.objects.federated else 100
        return InstanceAP(self.vocabulary.names, self.ignore_skipped, most)

    def score(self, example: Example, result: Segmentation):
        state = self.empty()
        image_id, size = example.image_id, example.image.shape[:2]
        guesses = [
            {"category": s.category, "score": s.score, "mask": mask}
            | ({} if s.box is None else {"bbox": corners_to_coco(s.box)})
            for s, mask in zip(result.segments, result.masks.rle, strict=True)
        ]
        truth = self.objects.get(image_id, [])
        if image_id in self.objects.federated:
            truth, guesses = federated(size, truth, guesses, *self.objects.federated[image_id])
        if not self.objects.masks:
            guesses = [{key: value for key, value in guess.items() if key != "mask"} for guess in guesses]
        state.update(image_id, size, truth, guesses)
        return state, instance_quality(truth, guesses, size) if self.objects.masks else None

    def add(self, state) -> None:
        # `merge` would copy all images for each one that is added.
        self.state.images.update(state.images)

    def truth(self, example: Example):
        objects = [o for o in self.objects.get(example.image_id, []) if "mask" in o and not o["iscrowd"]]
        return {"objects": objects, "labels": np.array([o["category"] for o in objects], np.int64)}


class ForegroundScorer(PanopticScorer):
    """The measures of foreground segmentation; of one image its S-measure."""

    def empty(self):
        return ForegroundMeasures()

    def score(self, example: Example, result: Segmentation):
        state = self.empty()
        state.update(example.segments >= 0, result.foreground)
        return state, state.compute()["s_measure"]


class ReferringScorer(PanopticScorer):
    """IoU of the mask that answers each phrase; of one image the mean over its phrases, an absent one counts as 1 where
    nothing answers it, else 0."""

    def empty(self):
        return ReferringIoU()

    def words(self, examples: Sequence[Example]) -> list[Vocabulary]:
        return [phrase_vocabulary(_phrases(example) or ["object"]) for example in examples]

    def score(self, example: Example, result: Segmentation):
        state, scores = self.empty(), []
        answers = {segment.name: result.mask(segment) for segment in result.segments}
        nothing = np.zeros(example.image.shape[:2], bool)
        for truth, phrases in asked_of(example):
            for place, phrase in enumerate(phrases):
                answer = answers.get(normalised(phrase), nothing)
                state.update(truth, answer, first=place == 0)
                union = np.count_nonzero(truth | answer)
                scores.append(np.count_nonzero(truth & answer) / union if union else 1.0)
        return state, float(np.mean(scores)) if scores else None

    def truth(self, example: Example):
        """One mask for each object, under the first of its phrases that no other has."""
        found, labels, place = [], [], {text: number for number, text in enumerate(_phrases(example))}
        for mask, phrases in asked_of(example):
            free = [place[normalised(phrase)] for phrase in phrases]
            free = [number for number in free if number not in labels]
            if mask.any() and free:
                found.append({"mask": mask})
                labels.append(free[0])
        return {"objects": found, "labels": np.array(labels, np.int64)}


def asked_of(example: Example) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
    """(true mask bool[H, W], phrases) of every object, then of each phrase that describes nothing."""
    for target, phrases in enumerate(example.phrases):
        whole = example.segments == target if example.masks is None else np.asarray(example.masks[target]) != 0
        yield whole, phrases
    nothing = np.zeros(example.image.shape[:2], bool)
    for phrase in example.absent_phrases:
        yield nothing, (phrase,)


def _phrases(example: Example) -> list[str]:
    """Every phrase of an image once."""
    phrases = (phrase for texts in (*example.phrases, example.absent_phrases) for phrase in texts)
    return list(dict.fromkeys(map(normalised, phrases)))


class ClickState:
    """What clicks on a dataset's objects showed so far."""

    def __init__(self):
        self.clicks, self.ranks, self.first_ranks = ClickIoU(), IoURankCorrelation(), IoURankCorrelation()
        # Of objects whose category was asked for: how many there are of each, and how often the answer was right, the
        # one that is shown and the best of all.
        self.named, self.right = Counter(), np.zeros(2, int)
        self.of_boxes = ()  # IoU of each object's mask from its box, and of the best of three after one click.
        self.oracle = ()

    def merge(self, other: "ClickState") -> "ClickState":
        merged = ClickState()
        merged.clicks, merged.ranks = self.clicks.merge(other.clicks), self.ranks.merge(other.ranks)
        merged.first_ranks = self.first_ranks.merge(other.first_ranks)
        merged.of_boxes, merged.oracle = self.of_boxes + other.of_boxes, self.oracle + other.oracle
        merged.named, merged.right = self.named + other.named, self.right + other.right
        return merged

    def compute(self) -> dict[str, float]:
        kinds = {"iou_rank_correlation": self.ranks, "iou_rank_correlation_1": self.first_ranks}
        ranks = {name: kind.compute().get("iou_rank_correlation") for name, kind in kinds.items()}
        ranks = {name: value for name, value in ranks.items() if value is not None}
        named = {}
        if self.named:
            right, best = (self.right / self.named.total()).tolist()
            largest = max(self.named.values()) / self.named.total()
            named = {"named_right": right, "named_right_oracle": best, "named_most_frequent": largest}
        means = {"miou_box": self.of_boxes, "miou_1_oracle": self.oracle}
        means = {name: float(np.mean(values)) for name, values in means.items() if values}
        return self.clicks.compute() | ranks | named | means


class ClickScorer(PanopticScorer):
    """IoU after 1, 3 and 5 clicks on every object; of one image the mean after the first."""

    def empty(self):
        return ClickState()

    def score(self, example: Example, result: ClickedSegmentation) -> tuple[Any, float | None]:
        state = self.empty()
        for ious in result.ious:
            state.clicks.update(ious)
        state.ranks.update(*result.answers)
        state.first_ranks.update(*result.candidates)
        state.of_boxes = result.of_boxes
        if result.ious:
            state.oracle = tuple(result.candidates[1].reshape(len(result.ious), -1).max(1).tolist())
        if result.right is not None:
            state.named, state.right = Counter(s.category for s in result.segments), result.right.sum(1)
        return state, float(np.mean([ious[0] for ious in result.ious])) if result.ious else None

    def truth(self, example: Example):
        masks, labels = objects_of(example)
        return {"objects": [{"mask": mask} for mask in masks], "labels": labels}


SCORERS = {
    "panoptic": PanopticScorer,
    "semantic": SemanticScorer,
    "instance": InstanceScorer,
    "foreground": ForegroundScorer,
    "referring": ReferringScorer,
    "prompts": ClickScorer,
}
