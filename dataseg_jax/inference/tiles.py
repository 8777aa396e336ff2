"""Masks at an image's own resolution, a tile at a time: shapes stay static whatever the size of the image.

Bilinear, half-pixel centres, no antialiasing (torch's `align_corners=False`); the last cell is repeated beyond it.
"""

import dataclasses
from collections.abc import Callable, Iterator

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Axis:
    """The positions of a tile's rows, or columns, of pixels between the cells of the mask grid."""

    first: Int[Array, " t"]  # The cell before a pixel's centre,
    second: Int[Array, " t"]  # the one after it,
    share: Float[Array, " t"]  # and the weight of the second.
    inside: Bool[Array, " t"]  # False for pixels beyond the image.


def axis(start, count: int, pixels, cells_per_pixel, cells) -> Axis:
    """`count` (static) pixels from `start` on, along a side of `pixels` pixels that `cells` cells cover."""
    pixel = start + jnp.arange(count)
    position = jnp.clip((pixel + 0.5) * cells_per_pixel - 0.5, 0, cells - 1)
    first = jnp.floor(position).astype(jnp.int32)
    return Axis(first, jnp.minimum(first + 1, cells - 1), position - first, pixel < pixels)


def whole(grid: tuple[int, int], size: tuple[int, int]) -> tuple[Axis, Axis]:
    """The (rows, columns) of a tile that is a whole image of `size`, where masks of `grid` cells cover it exactly."""
    rows, columns = (axis(0, pixels, pixels, cells / pixels, cells) for cells, pixels in zip(grid, size, strict=True))
    return rows, columns


def sample(mask: Float[Array, "h w"], rows: Axis, columns: Axis) -> Float[Array, "t u"]:
    """One mask's logits at the pixels of a tile; values beyond the image have no meaning."""
    return _along(_along(mask, rows).T, columns).T  # Whole rows are gathered much faster than columns.


def _along(mask, pixels: Axis):
    share = pixels.share[:, None]
    return mask[pixels.first] * (1 - share) + mask[pixels.second] * share


def peak(mask: Float[Array, "h w"], rows: Axis, columns: Axis) -> Float[Array, ""]:
    """An upper bound of `sample`: the largest logit of the cells that a tile touches."""
    touched = (_touched(rows, mask.shape[0])[:, None]) & _touched(columns, mask.shape[1])
    return jnp.max(jnp.where(touched, mask, -jnp.inf))


def _touched(pixels: Axis, cells: int):
    cell = jnp.arange(cells)
    return (cell >= pixels.first[0]) & (cell <= pixels.second[-1])


def inside(rows: Axis, columns: Axis) -> Bool[Array, "t u"]:
    """The pixels of a tile that belong to the image."""
    return rows.inside[:, None] & columns.inside


def for_each(chosen: Bool[Array, " n"], body: Callable, start):
    """`state = body(slot, state)` for the chosen slots in order; the others take no time."""
    order = jnp.argsort(~chosen, stable=True)
    return jax.lax.fori_loop(0, chosen.sum(), lambda i, state: body(order[i], state), start)


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of one image, as the host reads them.

    Attributes:
      size: height and width of the image.
      side: of a tile, in pixels.
      parts: (first row, first column, arrays) of each tile; the arrays may still be computing.
    """

    size: tuple[int, int]
    side: int
    parts: list[tuple[int, int, tuple]]

    @property
    def padded(self) -> list[int]:
        """Height and width of all tiles together."""
        return [-(-n // self.side) * self.side for n in self.size]

    def __iter__(self) -> Iterator[tuple[int, int, tuple]]:
        for y, x, part in self.parts:
            yield y, x, jax.device_get(part)

    def joined(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """int32[H, W], the maps of all tiles put together, and the sums of their other arrays over all tiles."""
        whole, sums = np.empty(self.padded, np.int32), []
        for y, x, (part, *counts) in self:
            whole[y : y + self.side, x : x + self.side] = part
            sums.append(counts)
        height, width = self.size
        return np.ascontiguousarray(whole[:height, :width]), [np.sum(one, 0) for one in zip(*sums, strict=True)]
