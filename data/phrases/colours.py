"""The colour of an object where it is plain, by the mean hue of its pixels."""

import cv2
import numpy as np

# ours, all of them: looked at on 100 images of COCO. Degrees; the gaps between are called nothing. Orange, brown and
# skin, which light makes of each other, have no name, nor have black and white, which shade and flash make of anything.
HUES = {"red": (345, 12), "yellow": (46, 64), "green": (85, 160), "blue": (200, 250), "purple": (265, 300)}
NAMES = tuple(HUES)
_SATURATED, _LIT = 0.4, 0.25  # Saturation and value of a pixel that has a hue.
_SHARE = 0.6  # Of the pixels, that must have one.
_UNITY = 0.93  # Length of the mean of their hues as unit vectors; 1 = all are equal.


def plain_colour(pixels: np.ndarray) -> str:
    """One of `NAMES`, or "" where the colour is not plain.

    Args:
      pixels: uint8[n, 3], RGB, of the object alone.
    """
    if not len(pixels):
        return ""
    hsv = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]
    hue, saturation, value = hsv.T
    hued = (saturation >= _SATURATED) & (value >= _LIT)
    if hued.mean() < _SHARE:
        return ""
    mean = np.exp(1j * np.deg2rad(hue[hued])).mean()
    if abs(mean) < _UNITY:
        return ""
    degrees = np.rad2deg(np.angle(mean)) % 360
    return next((name for name, (low, high) in HUES.items() if (degrees - low) % 360 <= (high - low) % 360), "")
