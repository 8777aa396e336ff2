"""Resizing as a product with a matrix: an axis at another size, as torch resizes it. And halving by maxima."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


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


def largest_of_four(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 c"]:
    """The largest of every 2 x 2 cells, as `nn.max_pool(x, (2, 2), (2, 2))`.

    So is its gradient, that of the first of equal ones; but it selects, where that of a pooling scatters.
    """
    b, h, w, c = x.shape
    ends = b, h // 2 * 2, w // 2 * 2, c
    starts = itertools.product((0, 1), (0, 1))
    largest, *others = (jax.lax.slice(x, (0, i, j, 0), ends, (1, 2, 2, 1)) for i, j in starts)
    for other in others:
        largest = jnp.where((other > largest) | jnp.isnan(other), other, largest)
    return largest


def nearest(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b H W c"]:
    """Maps at another size by their nearest cells, as `jax.image.resize`, whose gradient is a scatter."""
    for axis, new in enumerate(size, 1):
        old = x.shape[axis]
        if new % old == 0:
            x = jnp.repeat(x, new // old, axis)
        else:
            index = np.floor((np.arange(new, dtype=np.float32) + np.float32(0.5)) * old / new).astype(int)
            chosen = jnp.asarray(np.eye(old)[index], x.dtype)
            x = jnp.moveaxis(jnp.tensordot(chosen, x, ((1,), (axis,)), precision="highest"), 0, axis)
    return x
