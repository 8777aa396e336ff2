"""Masks of one image that may overlap, stored as COCO run lengths: a hundred large ones would take gigabytes."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco

from dataseg_jax.errors import InputError


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
    edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    lengths = np.diff(edges, prepend=0, append=height * width).tolist()
    return lengths if lengths[-1] or len(lengths) == 1 else lengths[:-1]


def unpacked(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """bool[H, W] from run lengths that sum to H x W."""
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size[::-1]).T


def run_lengths(code: bytes) -> np.ndarray:
    """The run lengths int64[n] of a compressed RLE, background first.

    Each number is spelled as characters of 5 bits, the lowest first, with a sign; from the fourth on it is the
    difference to the number two before.

    Raises:
      InputError: a character that cannot occur, or a number that is cut off.
    """
    characters = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not len(characters) or ((characters < 0) | (characters > 63)).any():
        raise InputError("the counts of its RLE are empty or hold characters that no compressed RLE has")
    last = np.flatnonzero(characters < 32)
    if not len(last) or last[-1] != len(characters) - 1:
        raise InputError("the counts of its RLE are cut off")
    first = np.append(0, last[:-1] + 1)
    place = np.arange(len(characters)) - np.repeat(first, last - first + 1)
    if place.max() > 6:
        raise InputError("the counts of its RLE hold a number of more than 35 bits")
    numbers = np.add.reduceat((characters & 31) << 5 * place, first)
    negative = (characters[last] & 16) != 0
    numbers -= negative * (np.int64(1) << 5 * (last - first + 1))
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers
