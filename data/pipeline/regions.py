"""Where the regions of an index map lie: runs, boxes and areas in one pass over the pixels, and renumbering."""

import cv2
import numpy as np

from data.example import NO_TARGET, VOID


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds the horizontal runs of equal values in a map; no run crosses the end of a row.

    An annotation map of a million pixels has a few thousand runs, so work per run is nearly free.

    Args:
      values: [H, W], any dtype.

    Returns:
      (starts, lengths): int64[R] each, the flat index of each run's first pixel and its number of pixels.
    """
    first = np.empty(values.shape, bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=first[:, 1:])
    first[:, 0] = True
    starts = np.flatnonzero(first)
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = values.size - starts[-1]
    return starts, lengths


def boxes_and_areas(segments: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Measures every segment of an index map.

    Args:
      segments: int[H, W] with values below `count`; negative values belong to no segment.
      count: S, the number of segments.

    Returns:
      (boxes, areas): float32[S, 4] as x0 y0 x1 y1 with exclusive right and lower edges (zeros for a segment
      without a pixel), and int64[S] in pixels.
    """
    height, width = segments.shape
    starts, lengths = runs(segments)
    owners = segments.reshape(-1)[starts]
    owned = owners >= 0
    owners, starts, lengths = owners[owned], starts[owned], lengths[owned]
    y, x = np.divmod(starts, width)
    left, top = np.full(count, width), np.full(count, height)
    right, bottom = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.minimum.at(left, owners, x)
    np.minimum.at(top, owners, y)
    np.maximum.at(right, owners, x + lengths)
    np.maximum.at(bottom, owners, y + 1)
    areas = np.bincount(owners, weights=lengths, minlength=count).astype(np.int64)
    boxes = np.stack([left, top, right, bottom], axis=1).astype(np.float32)
    boxes[areas == 0] = 0
    return boxes, areas


def relabelled(segments: np.ndarray, numbers: np.ndarray, *, rest: int, void: int) -> np.ndarray:
    """Gives the pixels of an index map other values.

    Args:
      segments: [H, W], signed; values are below S, `VOID` or `NO_TARGET`.
      numbers: [S], the new value of each target.
      rest: the new value of `NO_TARGET`.
      void: the new value of `VOID`.

    Returns:
      [H, W] of the type of `numbers`.
    """
    table = np.empty(256 if segments.itemsize == 1 else len(numbers) + 2, numbers.dtype)
    table[: len(numbers)], table[NO_TARGET], table[VOID] = numbers, rest, void  # Negative values count from the end.
    return cv2.LUT(segments.view(np.uint8), table) if segments.itemsize == 1 else table[segments]
