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
