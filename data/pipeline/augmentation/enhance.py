"""InSPyReNet's changes of colour for foreground sets: contrast, sharpness and brightness, each a little more or not."""

import itertools

import cv2
import numpy as np

MOST = 0.1  # Share by which each is raised at most: InSPyReNet's factors are 1 to 1.1.
_ORDERS = tuple(itertools.permutations(range(3)))
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def enhance_colours(image: np.ndarray, strength: float, draws: np.ndarray) -> np.ndarray:
    """Raises contrast, sharpness and brightness as Pillow's `ImageEnhance` does, within a gray level for each.

    Each of the three is raised with probability 1/2, by a factor that is uniform in 1 to 1 + `MOST`, in any order.

    Args:
      image: uint8[H, W, 3], RGB, at the size of the input: sharpness is of its pixels.
      strength: share of `MOST`; 0 changes nothing, 1 is InSPyReNet's.
      draws: at least 7 numbers uniform in [0, 1): which changes, how much of each, and their order.

    Returns:
      uint8[H, W, 3], a new array unless nothing changes.
    """
    factors = 1 + MOST * strength * draws[3:6] * (draws[:3] < 0.5)
    for place in _ORDERS[int(len(_ORDERS) * draws[6])]:
        if factors[place] > 1:
            image = _METHODS[place](image, float(factors[place]))
    return image


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _look_up(image, mean + factor * (np.arange(256) - mean))


def _sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    smooth = image.copy()  # Pixels at the edge stay as they are.
    smooth[1:-1, 1:-1] = cv2.filter2D(image, -1, _SMOOTH)[1:-1, 1:-1]
    return cv2.addWeighted(image, factor, smooth, 1 - factor, 0)


def _brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return _look_up(image, factor * np.arange(256))


def _look_up(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(np.rint(values), 0, 255).astype(np.uint8))


_METHODS = (_contrast, _sharpness, _brightness)
