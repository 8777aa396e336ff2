"""Precision of one category by COCOeval of pycocotools, and the means over categories that it reports."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

KINDS = {"mask": ("segmentation", "segm"), "box": ("bbox", "bbox")}  # Name here -> COCO's key, COCOeval's iouType.


@dataclasses.dataclass(frozen=True)
class CategoryTask:
    """What COCOeval needs to score one category by masks or by boxes; is sent between processes."""

    kind: str
    images: tuple[dict, ...]
    ground_truth: tuple[dict, ...]
    predictions: tuple[dict, ...]
    most_predictions: int = 100  # Per image; those of lower score do not count.


def category_precision(task: CategoryTask) -> np.ndarray:
    """Runs COCOeval on one category; it treats categories one by one, so nothing changes.

    Returns:
      float64[T, R, A]: precision at 10 IoU thresholds, 101 recalls, 4 object sizes; -1 where undefined.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints; stdout belongs to the caller.
        evaluation = _Evaluation(
            _coco(task.images, task.ground_truth), _coco(task.images, task.predictions), KINDS[task.kind][1]
        )
        evaluation.params.maxDets = [task.most_predictions]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, 0, :, -1]


class _Evaluation(COCOeval):
    """COCOeval that honours `ignore`, which pycocotools overwrites with `iscrowd`."""

    def _prepare(self) -> None:
        marked = {g["id"] for g in self.cocoGt.dataset["annotations"] if g["ignore"]}
        super()._prepare()
        for records in self._gts.values():
            for g in records:
                g["ignore"] = int(g["iscrowd"] or g["id"] in marked)


def _coco(images: Sequence[dict], records: Sequence[dict]) -> COCO:
    coco = COCO()
    # Ids start at 1: COCOeval stores the id of the match and reads 0 as none.
    annotations = [{"iscrowd": 0} | record | {"id": n, "category_id": 1} for n, record in enumerate(records, 1)]
    coco.dataset = {"images": list(images), "annotations": annotations, "categories": [{"id": 1, "name": ""}]}
    coco.createIndex()
    return coco


def average(kind: str, precision: np.ndarray) -> dict[str, float]:
    """The mean over thresholds, recalls and categories of precision [T, R, K, A], as COCOeval.summarize takes it."""
    fifty, seventy_five = slice(0, 1), slice(5, 6)  # IoU thresholds are .50, .55, ..., .95.
    cuts = {
        "ap": precision[..., 0],
        "ap50": precision[fifty, ..., 0],
        "ap75": precision[seventy_five, ..., 0],
        "ap_small": precision[..., 1],
        "ap_medium": precision[..., 2],
        "ap_large": precision[..., 3],
    }
    return {f"{kind}_{key}": float(v[v > -1].mean()) for key, v in cuts.items() if (v > -1).any()}
