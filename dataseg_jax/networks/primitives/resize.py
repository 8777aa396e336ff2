"""Resizing as torch does it: as a product with a matrix, or of maps by whole ratios as slices with fixed weights."""

import functools
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


def bilinear(x: Float[Array, "b h w c"], size: tuple[int, int]) -> Float[Array, "b H W c"]:
    """Maps at another size, pixel centres at half, as `jax.image.resize(antialias=False)`.

    By whole ratios it is slices and fixed weights, in place of a product with a matrix that is nearly empty.
    """
    if all(new % old == 0 or old % new == 0 for new, old in zip(size, x.shape[1:3], strict=True)):
        return _along(_along(x, size[0], 1), size[1], 2)
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear", antialias=False)


def _along(x, new: int, axis: int):
    old = x.shape[axis]
    if new < old:
        ratio = old // new
        first, second = (jax.lax.slice_in_dim(x, i, old, ratio, axis) for i in ((ratio - 1) // 2, ratio // 2))
        return first if ratio % 2 else (first + second) / 2  # The middle of a new cell lies on an old one, or between.
    if new == old:
        return x
    ratio = new // old
    piece = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    before = jnp.concatenate([piece(0, 1), piece(0, old - 1)], axis)  # Edges are repeated.
    after = jnp.concatenate([piece(1, old), piece(old - 1, old)], axis)
    phases = (np.arange(ratio) + 0.5) / ratio - 0.5  # Of the new cells in an old one, from its middle.
    parts = [(1 - abs(o)) * x + abs(o) * (before if o < 0 else after) if o else x for o in phases.tolist()]
    shape = *x.shape[:axis], new, *x.shape[axis + 1 :]
    return jnp.stack(parts, axis + 1).reshape(shape)
