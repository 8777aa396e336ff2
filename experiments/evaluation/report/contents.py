"""The contents of a report: scores of a dataset, and its best and worst images."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dataseg_jax.errors import InputError

# Task -> (score of a class that bars show, scores that dots show), keys of the metrics' results by class.
CLASS_SCORES = {
    "panoptic": ("pq", ("sq", "rq")),
    "semantic": ("iou", ("accuracy",)),
    "instance": ("mask_ap", ("mask_ap50",)),
    "foreground": ("s_measure", ()),  # There is one class.
    "referring": ("miou", ()),  # There are no classes, here and in the next.
    "prompts": ("miou_1", ()),
    "video": ("jf", ()),
}
COUNTS = ("noc_90",)  # Metrics that are no fractions.
# Key of the metrics' results -> what people call it.
METRIC_NAMES = {
    "pq": "PQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff", "sq": "SQ", "rq": "RQ", "tp": "TP", "fp": "FP",
    "fn": "FN", "miou": "mIoU", "iou": "IoU", "accuracy": "accuracy", "pixel_accuracy": "pixel accuracy",
    "mask_ap": "mask AP", "mask_ap50": "mask AP50", "mask_ap75": "mask AP75", "box_ap": "box AP",
    "box_ap50": "box AP50", "box_ap75": "box AP75", "mask_ap_small": "small", "mask_ap_medium": "medium",
    "mask_ap_large": "large", "box_ap_small": "box, small", "box_ap_medium": "box, medium",
    "box_ap_large": "box, large",
    "miou_1": "mIoU after 1 click", "miou_1_oracle": "mIoU after 1 click of the best of three answers",
    "miou_3": "mIoU after 3 clicks", "miou_5": "mIoU after 5 clicks",
    "noc_90": "clicks to an IoU of .9", "failed_90": "objects that do not reach it in 20 clicks", "objects": "objects",
    "iou_rank_correlation": "rank correlation of predicted and true IoU, answers to clicks and boxes",
    "iou_rank_correlation_1": "rank correlation of predicted and true IoU, all answers to first clicks",
    "miou_box": "mIoU from a box", "box_fill_miou": "mIoU of the filled box",
    "grabcut_miou": "mIoU of GrabCut from the box",
    "named_right": "objects of the right category after 1 click",
    "named_right_oracle": "objects of the right category after 1 click, best of three answers",
    "named_most_frequent": "objects of the most frequent category",
    "jf": "J&F", "j": "J", "f": "F", "copied_mask_jf": "J&F of the first mask, copied",
    "flow_mask_jf": "J&F of the first mask, carried by optical flow", "no_memory_jf": "J&F without memory",
    "image_model_jf": "J&F of the last mask's box, asked anew on each frame",
    "presence_accuracy": "accuracy of presence", "constant_presence_accuracy": "accuracy of the likelier answer",
    "absent_found": "frames without the object that are found", "present_found": "frames with it that are found",
    **{
        f"{protocol}_jf_{n}": f"J&F, {protocol}, 3 clicks on {n} frame{'s' * (n > 1)}"
        for protocol in ("offline", "online")
        for n in range(1, 9)
    },
    "mae": "MAE", "s_measure": "S-measure", "f_measure": "F-measure (maximum)", "e_measure": "E-measure (maximum)",
    "weighted_f_measure": "weighted F-measure",
    "oiou": "oIoU", "p50": "P@.5", "p60": "P@.6", "p70": "P@.7", "p80": "P@.8", "p90": "P@.9", "phrases": "phrases",
    "absent": "absent phrases", "absent_empty": "absent phrases that nothing answers",
    "first_miou": "mIoU of first sentences", "first_oiou": "oIoU of first sentences",
    "largest_object_miou": "mIoU of always the largest object",
    "class_only_miou": "mIoU of the largest object of the class", "mean_mask_mae": "MAE of the mean training mask",
    "contrast_mae": "MAE of the contrast of colours",
    "colour_classifier_miou": "mIoU of a per-pixel colour classifier",
    "majority_class_miou": "mIoU of the majority class",
    "upper_bound_pq": "upper bound of PQ by stride-4 masks",
    "upper_bound_miou": "upper bound of mIoU by stride-4 masks",
    "nearest_name_accuracy": "trained names whose nearest word is right",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class ShownImage:
    """One image of the dataset with its prediction and ground truth.

    Attributes:
      name: of its file.
      score: of this image alone, a fraction.
      columns: what stands side by side, (caption, uint8[H, W, 3]).
      note: a line below the name, such as why nothing was found; "" for none.
    """

    name: str
    score: float
    columns: tuple[tuple[str, np.ndarray], ...]
    note: str = ""


class BestAndWorst:
    """Keeps the best and the worst of many images, and the scores of all.

    An image is drawn only if it is kept, since drawing costs more than scoring.

    Args:
      most: images to keep at either end.

    Attributes:
      scores: the scores of all images so far.
    """

    def __init__(self, most: int):
        if most < 0:
            raise InputError(f"the number of best and worst images must be at least 0, not {most}")
        self._most = most
        self._kept: list[ShownImage] = []
        self.scores: list[float] = []

    def add(self, score: float | None, draw: Callable[[float], ShownImage]) -> None:
        """Adds an image; `score` is None if there is nothing to find and nothing was found."""
        if score is None:
            return
        self.scores.append(score)
        ranked = sorted(image.score for image in self._kept)
        full = len(ranked) >= 2 * self._most
        if self._most and (not full or score < ranked[self._most - 1] or score > ranked[-self._most]):
            self._kept.append(draw(score))
            self._kept.sort(key=lambda image: image.score)
            if full:
                del self._kept[self._most]

    @classmethod
    def joined(cls, parts: Sequence["BestAndWorst"]) -> "BestAndWorst":
        """Merges the best and worst images of several hosts."""
        whole = cls(parts[0]._most)
        # By name, so that images of one score stand in one order, however many hosts shared them.
        for image in sorted((image for part in parts for image in part._kept), key=lambda image: image.name):
            whole.add(image.score, lambda score, image=image: image)
        whole.scores = [score for part in parts for score in part.scores]
        return whole

    @property
    def worst(self) -> tuple[ShownImage, ...]:
        """Ascending; the lower half while there are few."""
        return tuple(self._kept[: len(self._kept) // 2])

    @property
    def best(self) -> tuple[ShownImage, ...]:
        """Descending; the upper half while there are few."""
        return tuple(reversed(self._kept[len(self._kept) // 2 :]))


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetReport:
    """The scores of one dataset.

    Attributes:
      name: what the config calls it.
      task: panoptic, semantic or instance.
      about: facts as (name, value): form of supervision, number of images, thresholds, ...
      scores: (name of the metric, its value as it is shown), the headline first.
      per_class: class -> {metric: fraction or count}.
      image_scores: one fraction per image.
      best: in descending order of their scores.
      worst: in ascending order.
      history: (step, headline score, score by class) of every evaluation of the run.
      confusion: (names of the K classes, int64[K, K + 1] pixels): truth by prediction, the last column without one.
    """

    name: str
    task: str
    about: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, str], ...]
    per_class: dict[str, dict[str, float]]
    image_scores: tuple[float, ...] = ()
    best: tuple[ShownImage, ...] = ()
    worst: tuple[ShownImage, ...] = ()
    history: tuple[tuple[int, float, dict[str, float]], ...] = ()
    confusion: tuple[Sequence[str], np.ndarray] | None = None
