"""Position tables of one size to another: bicubic over the grid, linear over relative offsets, as ViTDet does it."""

import math

import numpy as np

CUBIC = -0.75  # Of the cubic kernel; torch's, with which the published models were made. Keys' own is -0.5.


def as_grid(table: np.ndarray) -> np.ndarray:
    """[1, g * g (+ 1 for a class token, which comes first), C] or [1, g, g, C] -> [1, g, g, C]; else unchanged."""
    if table.ndim != 3:
        return table
    tokens, channels = table.shape[1:]
    for dropped in (0, 1):
        side = math.isqrt(tokens - dropped)
        if side * side == tokens - dropped > 0:
            return table[:, dropped:].reshape(-1, side, side, channels)
    return table


def resize_grid(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """[1, h, w, C] -> float32 [1, height, width, C], bicubic with half-pixel centres and edges repeated."""
    rows, columns = (_matrix(*sizes, _cubic, 2) for sizes in ((height, grid.shape[1]), (width, grid.shape[2])))
    return np.einsum("yh,xw,bhwc->byxc", rows, columns, grid.astype(np.float64), optimize=True).astype(np.float32)


def resize_offsets(table: np.ndarray, length: int) -> np.ndarray:
    """[2 S - 1, C] -> float32 [length, C], linear with half-pixel centres."""
    return (_matrix(length, table.shape[0], _linear, 1) @ table.astype(np.float64)).astype(np.float32)


def _matrix(out: int, size: int, kernel, reach: int) -> np.ndarray:
    """float64 [out, size]: row i holds the weights of the samples that make output i; past an edge it is repeated."""
    weights = np.zeros((out, size))
    for i in range(out):
        centre = (i + 0.5) * size / out - 0.5
        for j in range(math.floor(centre) - reach + 1, math.floor(centre) + reach + 1):
            weights[i, min(max(j, 0), size - 1)] += kernel(abs(centre - j))
    return weights


def _cubic(x: float) -> float:
    if x <= 1:
        return (CUBIC + 2) * x**3 - (CUBIC + 3) * x**2 + 1
    return CUBIC * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def _linear(x: float) -> float:
    return max(1 - x, 0.0)
