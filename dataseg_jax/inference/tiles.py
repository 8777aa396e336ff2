"""Masks at an image's own resolution, a window at a time: shapes stay static whatever the size of the image.

Bilinear, half-pixel centres, no antialiasing (torch's `align_corners=False`); beyond the last cell its value goes on.
"""

from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Axis:
    """Where the pixels of one side of a window lie among the cells of a grid of masks."""

    first: Int[Array, " t"]  # The cell before a pixel's centre,
    second: Int[Array, " t"]  # the one after it,
    share: Float[Array, " t"]  # and how much of the second there is.
    inside: Bool[Array, " t"]  # False for pixels beyond the image.


def axis(start, count: int, pixels, cells_per_pixel, cells) -> Axis:
    """`count` (static) pixels from `start` on, of a side of `pixels` that `cells` cells cover."""
    pixel = start + jnp.arange(count)
    position = jnp.clip((pixel + 0.5) * cells_per_pixel - 0.5, 0, cells - 1)
    first = jnp.floor(position).astype(jnp.int32)
    return Axis(first, jnp.minimum(first + 1, cells - 1), position - first, pixel < pixels)


def whole(grid: tuple[int, int], size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The window that is all of an image of `size`, (rows, columns), where masks of `grid` cells cover it exactly."""
    rows, columns = (axis(0, pixels, pixels, cells / pixels, cells) for cells, pixels in zip(grid, size, strict=True))
    return rows, columns


def sample(mask: Float[Array, "h w"], rows: Axis, columns: Axis) -> Float[Array, "t u"]:
    """One mask's logits at the pixels of a window; what they are beyond the image has no meaning."""
    return _along(_along(mask, rows).T, columns).T  # Whole rows are gathered much faster than columns.


def _along(mask, pixels: Axis):
    share = pixels.share[:, None]
    return mask[pixels.first] * (1 - share) + mask[pixels.second] * share


def peak(mask: Float[Array, "h w"], rows: Axis, columns: Axis) -> Float[Array, ""]:
    """A bound on what `sample` gives: the largest logit of the cells that a window touches."""
    touched = (_touched(rows, mask.shape[0])[:, None]) & _touched(columns, mask.shape[1])
    return jnp.max(jnp.where(touched, mask, -jnp.inf))


def _touched(pixels: Axis, cells: int):
    cell = jnp.arange(cells)
    return (cell >= pixels.first[0]) & (cell <= pixels.second[-1])


def inside(rows: Axis, columns: Axis) -> Bool[Array, "t u"]:
    """The pixels of a window that belong to the image."""
    return rows.inside[:, None] & columns.inside


def for_each(chosen: Bool[Array, " n"], body: Callable, start):
    """`state = body(slot, state)` for the chosen slots in their order; the others cost nothing."""
    order = jnp.argsort(~chosen, stable=True)
    return jax.lax.fori_loop(0, chosen.sum(), lambda i, state: body(order[i], state), start)
