"""Masks of one image that may overlap, as run lengths: hundreds of them, dense, would fill the memory of a machine."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from dataseg_jax.results.rle import run_lengths


@dataclasses.dataclass(frozen=True, eq=False)
class Masks(Sequence):
    """A sequence of uint8[H, W], 1 where the target is, made on access; `masks[[3, 0]]` is Masks again.

    Attributes:
      size: (height, width) of the image, in pixels.
      codes: compressed RLE {"size", "counts"} of a part of the image for each mask, no run but the first of length 0;
        outside of its part a mask is empty.
      corners: int64[S, 2], left and top of these parts.
    """

    size: tuple[int, int]
    codes: tuple[dict[str, Any], ...]
    corners: np.ndarray

    @classmethod
    def whole(cls, codes: Iterable[dict[str, Any]], size: tuple[int, int]) -> "Masks":
        """From compressed RLE that are each as large as the image."""
        codes = tuple(codes)
        return cls(size, codes, np.zeros((len(codes), 2), np.int64))

    @classmethod
    def encode(cls, masks: Iterable[np.ndarray], size: tuple[int, int]) -> "Masks":
        """From arrays [H, W], 0 where the target is not; they are looked at one at a time."""
        return cls.whole((mask_utils.encode(np.asfortranarray(mask != 0).view(np.uint8)) for mask in masks), size)

    @property
    def areas(self) -> np.ndarray:
        """int64[S]: pixels of each mask."""
        return np.array([mask_utils.area(code) for code in self.codes], np.int64)  # Of a list only up to 255.

    @property
    def boxes(self) -> np.ndarray:
        """int64[S, 4]: x0 y0 x1 y1 around each mask, right and lower edges exclusive; no area where it has no pixel."""
        if not self.codes:
            return np.zeros((0, 4), np.int64)
        x, y, width, height = mask_utils.toBbox(list(self.codes)).astype(np.int64).T
        left, top = self.corners.T
        return np.stack([left + x, top + y, left + x + width, top + y + height], axis=1)

    def largest_first(self) -> Iterator[tuple[int, list[int]]]:
        """Number and box of each mask, by falling area; of equal ones the first comes first."""
        boxes = self.boxes.tolist()
        return ((i, boxes[i]) for i in np.argsort(-self.areas, kind="stable").tolist())

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) or np.ndim(key):
            kept = np.arange(len(self))[key]
            return Masks(self.size, tuple(self.codes[i] for i in kept), self.corners[kept])
        return self.union([range(len(self))[key]])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All of them at once, uint8[S, H, W]: for small images or few masks."""
        dense = np.stack(list(self)) if self.codes else np.zeros((0, *self.size), np.uint8)
        return dense if dtype is None else dense.astype(dtype, copy=False)

    def union(self, members: Iterable[int], part: tuple[slice, slice] | None = None) -> np.ndarray:
        """uint8[h, w]: 1 where one of some masks is.

        Args:
          members: which masks.
          part: rows and columns of the image (with start and stop, within it) to look at; None = all.
        """
        rows, columns = part or (slice(0, self.size[0]), slice(0, self.size[1]))
        # Column by column, as run lengths count.
        found = np.zeros((columns.stop - columns.start, rows.stop - rows.start), np.uint8)
        for i in members:
            code, (left, top) = self.codes[i], self.corners[i].tolist()
            height, width = code["size"]
            x0, x1 = max(left, columns.start), min(left + width, columns.stop)
            y0, y1 = max(top, rows.start), min(top + height, rows.stop)
            if x0 >= x1 or y0 >= y1:
                continue
            if 2 * (x1 - x0) * (y1 - y0) < height * width:  # Most of its pixels are not asked for.
                x, above, below = self._runs(i)
                inside = (x >= x0) & (x < x1) & (above < y1) & (below > y0)
                x, above, below = x[inside], np.maximum(above[inside], y0), np.minimum(below[inside], y1)
                code, left, top = _encoded(x - x0, above - y0, below - y0), x0, y0
                x1, y1 = x0 + code["size"][1], y0 + code["size"][0]
            mask = mask_utils.decode(code).T[x0 - left : x1 - left, y0 - top : y1 - top]
            found[x0 - columns.start : x1 - columns.start, y0 - rows.start : y1 - rows.start] |= mask
        return cv2.transpose(found) if found.size else found.T

    def sampled(
        self, rows: np.ndarray, columns: np.ndarray, size: tuple[int, int] | None = None, flip: bool = False
    ) -> "Masks":
        """Takes pixels by nearest neighbour, run by run: no mask is decoded.

        Args:
          rows, columns: int[h] and int[w], ascending: pixel (y, x) of the result is (rows[y], columns[x]) of these.
          size: (height, width) of the result if it is larger; 0 below and right of h x w.
          flip: mirror left and right, within w.

        Returns:
          As many masks, some perhaps without a pixel.
        """
        # The first row and column of the result at or after each one of the image.
        down, across = (np.searchsorted(at, np.arange(n + 1)) for at, n in zip((rows, columns), self.size, strict=True))
        codes, corners = [], np.zeros((len(self), 2), np.int64)
        for i, corner in enumerate(corners):
            x, top, bottom = _moved(self._runs(i), down, across)
            if flip:
                x = len(columns) - 1 - x
            if len(x):
                corner[:] = x.min(), top.min()
            codes.append(_encoded(x - corner[0], top - corner[1], bottom - corner[1]))
        return Masks(size or (len(rows), len(columns)), tuple(codes), corners)

    def _runs(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column, top and bottom (exclusive) of the vertical runs of mask i, int64[n] each; one crosses no column."""
        height, edges = self.codes[i]["size"][0], np.cumsum(run_lengths(self.codes[i]["counts"]))
        starts, ends = edges[0 : len(edges) // 2 * 2 : 2], edges[1::2]
        x, last = starts // height, (ends - 1) // height
        if (last > x).any():
            count = last - x + 1
            first = np.repeat(np.cumsum(count) - count, count)
            starts, ends, x = (np.repeat(values, count) for values in (starts, ends, x))
            x = x + np.arange(len(x)) - first
            top, bottom = np.maximum(starts - x * height, 0), np.minimum(ends - x * height, height)
        else:
            top, bottom = starts - x * height, ends - x * height
        left, above = self.corners[i]
        return x + left, top + above, bottom + above


def _moved(
    runs: tuple[np.ndarray, np.ndarray, np.ndarray], down: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs where row y has become rows down[y] to down[y + 1], and columns likewise by `across`; in no order."""
    x, top, bottom = runs
    top, bottom = down[top], down[bottom]
    start, count = across[x], across[x + 1] - across[x]
    shown = (bottom > top) & (count > 0)
    start, count, top, bottom = start[shown], count[shown], top[shown], bottom[shown]
    if count.max(initial=1) == 1:
        return start, top, bottom
    first = np.repeat(np.cumsum(count) - count, count)
    x = np.repeat(start, count) + np.arange(len(first)) - first
    return x, np.repeat(top, count), np.repeat(bottom, count)


def _encoded(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> dict[str, Any]:
    """Compressed RLE of a mask as large as its vertical runs need."""
    if not len(x):
        return mask_utils.frPyObjects({"size": [1, 1], "counts": [1]}, 1, 1)
    height, width = int(bottom.max()), int(x.max()) + 1
    starts, ends = np.sort(x * height + top), np.sort(x * height + bottom)
    apart = starts[1:] != ends[:-1]  # Runs that touch are one.
    edges = np.empty(2 * (1 + int(apart.sum())), np.int64)
    edges[0], edges[2::2], edges[1:-1:2], edges[-1] = starts[0], starts[1:][apart], ends[:-1][apart], ends[-1]
    return code_of(np.diff(edges, prepend=0, append=height * width), height, width)


def code_of(counts: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Compressed RLE of run lengths int64[n], background first, that sum to height x width.

    Runs of length 0 are taken out, as libraries disagree on the boxes of such masks.
    """
    if not counts[1:].all():
        places, times = np.unique(np.cumsum(counts)[:-1], return_counts=True)
        edges = places[(times % 2 == 1) & (places < height * width)]
        counts = np.diff(edges, prepend=0, append=height * width)
    return mask_utils.frPyObjects({"size": [height, width], "counts": counts}, height, width)
