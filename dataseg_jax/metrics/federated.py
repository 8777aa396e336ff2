"""LVIS's rules for images that are not annotated with every category, in terms of COCO's scoring."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

MOST_PREDICTIONS = 300  # Per image, over all categories.


def federated(
    size: tuple[int, int],
    ground_truth: Iterable[Mapping[str, Any]],
    predictions: Iterable[Mapping[str, Any]],
    absent: Collection[int],
    incomplete: Collection[int],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Changes the records of one image so that COCO's scoring gives LVIS's scores.

    The best `MOST_PREDICTIONS` predictions count. Of these, masks without a pixel are removed, and predictions of
    categories that are neither in the ground truth nor known to be absent. A category some of whose instances are not
    annotated gets a crowd region as large as the image: a prediction that matches no annotation then matches the
    crowd, and is not counted.

    Args:
      size: height and width in pixels.
      ground_truth: records as `InstanceAP.update` takes them.
      predictions: records as `InstanceAP.update` takes them.
      absent: categories known to be absent from the image.
      incomplete: categories of which some instances are not annotated.

    Returns:
      (ground_truth, predictions) for an `InstanceAP` with `most_predictions` of `MOST_PREDICTIONS`.
    """
    truth = list(ground_truth)
    known = {record["category"] for record in truth} | set(absent)
    best = sorted(predictions, key=lambda record: -record["score"])[:MOST_PREDICTIONS]
    guesses = [r for r in best if r["category"] in known and not _is_empty(r)]
    height, width = size
    everywhere = {
        "mask": {"size": [height, width], "counts": [0, height * width]},
        "bbox": [-width, -height, 3 * width, 3 * height],  # Boxes may reach over the edge.
        "iscrowd": 1,
    }
    return truth + [everywhere | {"category": k} for k in sorted(known & set(incomplete))], guesses


def _is_empty(record: Mapping[str, Any]) -> bool:
    mask = record.get("mask")
    return isinstance(mask, np.ndarray) and not mask.any()
