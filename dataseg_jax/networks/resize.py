"""Resizing as a product with a matrix: an axis at another size, as torch resizes it."""

import numpy as np


def cubic(distance: np.ndarray) -> np.ndarray:
    """The bicubic kernel with a = -0.75, as in torch and so in published models (Keys has -0.5)."""
    a, x = -0.75, np.abs(distance)
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def linear(distance: np.ndarray) -> np.ndarray:
    """The kernel of linear interpolation."""
    return np.maximum(1 - np.abs(distance), 0)


def resize_matrix(new: int, old: int, kernel) -> np.ndarray:
    """float32 [new, old]: row i has the weights of the old samples in the new i-th, by `cubic` or `linear`.

    Pixel centres are at half, edges are repeated, and nothing is averaged where an axis shrinks.
    """
    position = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(position)
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        index = np.clip(first + tap, 0, old - 1).astype(int)
        np.add.at(matrix, (np.arange(new), index), kernel(position - first - tap))
    return matrix.astype(np.float32)


def smooth_matrix(new: int, old: int) -> np.ndarray:
    """float32 [new, old]: linear interpolation that averages where an axis shrinks, as torch with `antialias=True`."""
    step = old / new
    distance = (np.arange(old) + 0.5)[None] - ((np.arange(new) + 0.5) * step)[:, None]
    matrix = linear(distance / max(step, 1.0))
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)
