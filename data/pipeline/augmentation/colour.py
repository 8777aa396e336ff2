"""Colour jitter: brightness, contrast, saturation and hue, each changed or not, as MaskFormer does on semantic sets."""

import cv2
import numpy as np

DRAWS = 9  # Numbers that one image takes, whatever is done with them.
# ours: MaskFormer's ranges, those of the SSD detector.
BRIGHTNESS = 32.0  # Gray levels.
CONTRAST = 0.5  # Share that levels are multiplied with, more or less.
SATURATION = 0.5
HUE = 18.0  # OpenCV's units of 2 degrees.
_HUES = 180


def jitter_colours(image: np.ndarray, strength: float, draws: np.ndarray) -> np.ndarray:
    """Changes the colours of an image.

    Each of the four changes is made with probability 1/2, by an amount that is uniform in its range. Contrast comes
    after brightness or last, either with probability 1/2.

    Args:
      image: uint8[H, W, 3], RGB.
      strength: share of the ranges; 0 changes nothing, 1 is MaskFormer's.
      draws: `DRAWS` numbers uniform in [0, 1): which changes, how much of each, and when contrast comes.

    Returns:
      uint8[H, W, 3], a new array unless nothing changes.
    """
    brightness, contrast, saturation, hue = strength * (2 * draws[4:8] - 1) * (draws[:4] < 0.5)
    levels = np.arange(256)
    brighter, steeper = _levels(levels + BRIGHTNESS * brightness), _levels(levels * (1 + CONTRAST * contrast))
    before, after = (steeper[brighter], levels.astype(np.uint8)) if draws[8] < 0.5 else (brighter, steeper)
    turn = round(HUE * hue)
    image = _look_up(image, before)
    if saturation or turn:
        table = [(levels + turn) % _HUES, _levels(levels * (1 + SATURATION * saturation)), levels]
        image = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        image = cv2.LUT(image, np.stack(table, axis=-1).astype(np.uint8)[None])
        image = cv2.cvtColor(image, cv2.COLOR_HSV2RGB)
    return _look_up(image, after)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    return image if (table == np.arange(256)).all() else cv2.LUT(image, table)
