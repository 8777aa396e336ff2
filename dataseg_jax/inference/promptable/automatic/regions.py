"""Small holes are filled and small islands removed, as in the original: 8-connected, by area in pixels."""

import cv2
import numpy as np


def clean(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """Fills the holes of a mask bool[H, W] and then removes its islands, those of fewer than `min_area` pixels.

    A mask with only small islands keeps the largest. Background at the edge of the image is a hole like any other.

    Returns:
      The mask, and whether it is another one now.
    """
    filled, holes = _without_small(~mask, min_area)
    if holes:
        mask = ~filled
    kept, islands = _without_small(mask, min_area)
    if islands and not kept.any():
        kept = _largest(mask)
    return kept, holes or islands


def _without_small(mask: np.ndarray, min_area: int) -> tuple[np.ndarray, bool]:
    """A mask without its components below an area, and whether there were any."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= min_area
    kept[0] = True  # What is around the components.
    if kept.all():
        return mask, False
    kept[0] = False
    return kept[labels], True


def _largest(mask: np.ndarray) -> np.ndarray:
    """Its component of most pixels, the first of equals."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])
