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

# Bytes of the float32 values that a GPU holds of all slots at once; what is more goes through a loop.
# ours: one image of 1024 x 1024 pixels and 100 slots (400 MiB) is one turn.
AT_ONCE = 2**29


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


def sample(masks: Float[Array, "*n h w"], rows: Axis, columns: Axis) -> Float[Array, "*n t u"]:
    """The logits of masks at the pixels of a tile; values beyond the image have no meaning."""
    return _along(_along(masks, rows).mT, columns).mT  # Whole rows are gathered much faster than columns.


def _along(masks, pixels: Axis):
    share = pixels.share[:, None]
    return masks[..., pixels.first, :] * (1 - share) + masks[..., pixels.second, :] * share


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


def by_platform(slot_by_slot: Callable, at_once: Callable, *operands):
    """All slots at once on NVIDIA GPUs, slot by slot elsewhere.

    On a GPU each turn of a loop whose end depends on the data is a wait for the host and a dozen launches for little
    work. A CPU gains from every slot that is left out. A TPU runs such loops itself and keeps one slot's tile on the
    chip: compiled for v5e, all slots at once were estimated to take 1.3 to 2.1 times as long.
    """
    return jax.lax.platform_dependent(*operands, cuda=at_once, default=slot_by_slot)


def row_by_row(of_row: Callable, rows: Axis, width: int, depth: int):
    """`of_row` of every row of a tile, an `Axis` without its axis; as many rows at once as `AT_ONCE` allows.

    Args:
      width: pixels of a row.
      depth: float32 values that `of_row` has for each of them.
    """
    return jax.lax.map(of_row, rows, batch_size=_turn(len(rows.first), depth * width))


def image_by_image(of_image: Callable, slots, pixels: int, *beside):
    """`of_image(slots, *beside)` of every image: one by one, on GPUs as many at once as `AT_ONCE` allows.

    Args:
      slots: a batch of what `merge` of a task returns.
      pixels: of an answer.
      beside: arrays whose first axis is the batch's.
    """
    # Every pixel has a value of each slot or, in a semantic answer, of each category.
    depth = max(length for leaf in jax.tree.leaves(slots.replace(masks=None)) for length in leaf.shape[1:])
    at_once = _turn(len(slots.masks), depth * pixels)
    return by_platform(
        lambda *batch: jax.lax.map(lambda one: of_image(*one), batch),
        lambda *batch: jax.lax.map(lambda one: of_image(*one), batch, batch_size=at_once),
        slots,
        *beside,
    )


def _turn(count: int, values: int) -> int:
    """How many of `count` parts of so many float32 values each make one turn of a loop of about equal turns."""
    count = max(count, 1)
    turns = -(-count // max(1, AT_ONCE // (4 * values)))
    return -(-count // turns)


def of_row(masks: Float[Array, "n h w"], row: Axis, columns: Axis) -> tuple[Float[Array, "n u"], Bool[Array, " u"]]:
    """All masks' logits at the pixels of one row, and which pixels belong to the image."""
    row = jax.tree.map(lambda x: x[None], row)
    return sample(masks, row, columns)[:, 0], inside(row, columns)[0]


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
