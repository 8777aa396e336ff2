"""A score of the instances of one image, to find the best and the worst images of a dataset."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from dataseg_jax.metrics import rle

CERTAIN = 0.5  # ours: instances of lower scores do not count, as an overlay does not show them.


def instance_quality(
    truth: Sequence[Mapping[str, Any]], guesses: Sequence[Mapping[str, Any]], size: tuple[int, int]
) -> float | None:
    """Panoptic quality of instances of score `CERTAIN` and above: the mean over the image's categories of
    (sum of matched IoU) / (TP + FP / 2 + FN / 2).

    An instance and an object of one category match when their IoU is above .5; where overlapping masks allow several
    matches, the one of the largest IoU counts. An instance with more than half of its area on a crowd is not counted.

    Args:
      truth: records {category, mask, iscrowd}; objects without a mask are ignored.
      guesses: records {category, score, mask}.
      size: height and width.

    Returns:
      A fraction; None where there is neither an object nor an instance.
    """
    qualities = []
    truth = [t for t in truth if t.get("mask") is not None and not t.get("ignore", 0)]
    guesses = [g for g in guesses if g["score"] >= CERTAIN]
    for category in sorted({r["category"] for r in (*truth, *guesses)}):
        objects = [t for t in truth if t["category"] == category]
        masks = [rle.encode(t["mask"], size) for t in objects]
        crowd = [int(t.get("iscrowd", 0)) for t in objects]
        found = [rle.encode(g["mask"], size) for g in guesses if g["category"] == category]
        # For a crowd pycocotools gives the share of the instance that lies on it.
        overlap = np.asarray(coco.iou(found, masks, crowd)) if found and masks else np.zeros((len(found), len(masks)))
        crowd = np.array(crowd, bool)
        excused = (overlap[:, crowd] > 0.5).any(1)
        iou = overlap[:, ~crowd]
        matched, total = np.zeros(len(found), bool), 0.0
        while iou.size and iou.max() > 0.5:
            instance, target = np.unravel_index(iou.argmax(), iou.shape)
            total += iou[instance, target]
            matched[instance] = True
            iou[instance], iou[:, target] = 0, 0
        hits, missed = matched.sum(), (~crowd).sum() - matched.sum()
        wrong = (~matched & ~excused).sum()
        if hits + missed + wrong:
            qualities.append(total / (hits + (missed + wrong) / 2))
    return float(np.mean(qualities)) if qualities else None
