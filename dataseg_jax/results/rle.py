"""Masks of one image that may overlap, stored as COCO run lengths: a hundred large ones would take gigabytes."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco


@dataclasses.dataclass(frozen=True)
class Masks(Sequence):
    """A sequence of bool[H, W], decoded on access; `masks[2:4]` and `masks[[3, 0]]` are Masks again.

    Attributes:
      rle: {"size": [H, W], "counts": bytes} of each mask, as pycocotools takes it.
    """

    rle: tuple[dict, ...]

    @classmethod
    def encode(cls, masks: Iterable[np.ndarray]) -> "Masks":
        """From masks bool[H, W]; those in column-major order are not copied."""
        return cls(tuple(coco.encode(np.asfortranarray(mask).view(np.uint8)) for mask in masks))

    @property
    def areas(self) -> np.ndarray:
        """int64[n]: pixels of each mask."""
        return np.array([coco.area(mask) for mask in self.rle], np.int64)  # Of a list only up to 255.

    def __len__(self) -> int:
        return len(self.rle)

    def __getitem__(self, key):
        if isinstance(key, slice):
            return Masks(self.rle[key])
        if np.ndim(key):
            return Masks(tuple(self.rle[i] for i in key))
        return coco.decode(self.rle[key]).view(bool)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        """All of them at once, bool[n, H, W]; only for small images or few masks."""
        dense = np.stack(list(self)) if self.rle else np.zeros((0, 0, 0), bool)
        return dense if dtype is None else dense.astype(dtype, copy=False)


def runs(part: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> list[int]:
    """Run lengths of an image's mask, column by column, the first of what is outside; from the part that holds it.

    Takes time by the part, not by the image. No run but the first has length 0.

    Args:
      part: bool[h, w].
      corner: left and top of the part in the image, in pixels.
      size: height and width of the image.
    """
    (x, y), (height, width) = corner, size
    tall = part.shape[0] + 1
    # A row of False below each column ends its last run there: columns are not next to each other in the image.
    columns = np.zeros((part.shape[1], tall), bool)
    columns[:, :-1] = part.T
    flat = np.concatenate([[False], columns.ravel()])
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), tall)
    edges = (column + x) * height + row + y
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1  # Unless they are as tall as the image.
    edges = np.delete(edges, [*joined, *(joined + 1)])
    lengths = np.diff(edges, prepend=0, append=height * width).tolist()
    return lengths if lengths[-1] or len(lengths) == 1 else lengths[:-1]


def unpacked(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """bool[H, W] from run lengths that sum to H x W."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[::-1]).T
