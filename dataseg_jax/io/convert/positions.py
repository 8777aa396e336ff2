"""Position tables of one size to another: bicubic over the grid, linear over relative offsets, as ViTDet does it."""

import math

import numpy as np

from dataseg_jax.networks.primitives.resize import cubic, linear, resize_matrix


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
    """float32 [1, h, w, C] -> [1, height, width, C]."""
    rows, columns = resize_matrix(height, grid.shape[1], cubic), resize_matrix(width, grid.shape[2], cubic)
    return np.einsum("yh,xw,bhwc->byxc", rows, columns, grid, optimize=True)


def resize_offsets(table: np.ndarray, length: int) -> np.ndarray:
    """float32 [2 S - 1, C] -> [length, C]."""
    return resize_matrix(length, len(table), linear) @ table
