"""What IoUs of prompted masks mean: those of two answers that nothing was learned for, given the true box."""

from collections.abc import Iterable

import cv2
import numpy as np

from dataseg_jax.metrics.clicks import iou

ITERATIONS = 5  # Of GrabCut, as in OpenCV's examples.


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of the pixels of a mask bool[H, W] that has some."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)


def filled(mask: np.ndarray) -> np.ndarray:
    """The box of a mask, filled."""
    x, y, width, height = box_of(mask)
    answer = np.zeros_like(mask)
    answer[y : y + height, x : x + width] = True
    return answer


def grabcut(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """GrabCut from the box of a mask; where it finds nothing, or the box is the whole image, the filled box."""
    height, width = mask.shape
    x, y, w, h = box_of(mask)
    labels = np.zeros((height, width), np.uint8)
    if (w, h) == (width, height) or min(w, h) < 2:
        return filled(mask)
    cv2.setRNGSeed(0)  # Its clusters are drawn at random.
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.grabCut(bgr, labels, (x, y, w, h), *models, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    answer = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return answer if answer.any() else filled(mask)


def prompt_baselines(images: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Mean IoU, over objects, of the filled true box and of GrabCut started from it.

    Args:
      images: (image uint8[H, W, 3], masks bool[P, H, W] that are not empty).

    Returns:
      {"box_fill_miou", "grabcut_miou"}, fractions; empty without an object.
    """
    scores: dict[str, list[float]] = {"box_fill_miou": [], "grabcut_miou": []}
    for image, masks in images:
        for mask in masks:
            scores["box_fill_miou"].append(iou(mask, filled(mask)))
            scores["grabcut_miou"].append(iou(mask, grabcut(image, mask)))
    return {name: float(np.mean(values)) for name, values in scores.items() if values}
