"""What foreground scores mean: those of two answers that nothing was learned for."""

from collections.abc import Iterable

import cv2
import numpy as np

from dataseg_jax.metrics import ForegroundMeasures

GRID = 64  # Side of the mean mask.
BORDER = 0.1  # Share of the image's sides that counts as its border.


def mean_mask(masks: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of foreground masks bool[H, W], each resized to GRID x GRID; float32."""
    total, count = np.zeros((GRID, GRID), np.float32), 0
    for mask in masks:
        total += cv2.resize(mask.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
        count += 1
    return total / max(count, 1)


def contrast(image: np.ndarray) -> np.ndarray:
    """How far each pixel's colour lies from the mean colour of the image's border, float32[H, W] up to 1."""
    height, width = image.shape[:2]
    inner = np.zeros((height, width), bool)
    dy, dx = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    inner[dy : height - dy, dx : width - dx] = True
    distance = np.linalg.norm(image.astype(np.float32) - image[~inner].mean(0), axis=-1)
    return distance / max(float(distance.max()), 1e-6)


def foreground_baselines(train: Iterable[np.ndarray], val: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """MAE of the mean training mask for every image, and of the contrast of colours.

    Args:
      train: masks bool[H, W].
      val: (image uint8[H, W, 3], mask bool[H, W]).

    Returns:
      {"mean_mask_mae", "contrast_mae"}, fractions.
    """
    average = mean_mask(train)
    scores = {"mean_mask_mae": ForegroundMeasures(), "contrast_mae": ForegroundMeasures()}
    for image, mask in val:
        constant = cv2.resize(average, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        scores["mean_mask_mae"].update(mask, constant)
        scores["contrast_mae"].update(mask, contrast(image))
    return {name: float(score.compute()["mae"]) for name, score in scores.items()}
