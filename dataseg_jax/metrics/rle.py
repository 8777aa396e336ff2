"""Masks in any form as compressed run lengths (COCO RLE)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from dataseg_jax.errors import InputError


def encode(mask: Any, size: tuple[int, int]) -> dict:
    """A mask as compressed RLE.

    Args:
      mask: bool[H, W] (or any numbers, 0 = outside), an RLE whose counts are a list, text or bytes, or polygons.
      size: (H, W) in pixels.

    Raises:
      InputError: it is none of these, or of another size.
    """
    if isinstance(mask, np.ndarray):
        if mask.shape != size:
            raise InputError(f"the mask is {list(mask.shape)}; the image is {list(size)} (height, width)")
        return mask_utils.encode(np.asfortranarray(mask != 0, np.uint8))
    if isinstance(mask, list):
        if not mask or not all(isinstance(polygon, list) and len(polygon) >= 4 for polygon in mask):
            raise InputError("the mask is a list; it must hold polygons, each a list x, y, x, y, ...")
        return mask_utils.merge(mask_utils.frPyObjects(mask, *size))
    if not isinstance(mask, Mapping):
        raise InputError(f"the mask is a {type(mask).__name__}; it must be an array, an RLE or polygons")
    if list(mask["size"]) != list(size):
        raise InputError(f"the RLE is of size {list(mask['size'])}; the image is {list(size)} (height, width)")
    counts = mask["counts"]
    if isinstance(counts, list):
        return mask_utils.frPyObjects({"size": list(size), "counts": counts}, *size)
    return {"size": list(size), "counts": counts.encode() if isinstance(counts, str) else counts}


def from_box(box: Sequence[float], size: tuple[int, int]) -> dict:
    """The mask of a whole box (x, y, width, height in pixels), compressed."""
    x, y, width, height = box
    corners = [x, y, x, y + height, x + width, y + height, x + width, y]
    return mask_utils.merge(mask_utils.frPyObjects([corners], *size))


def area(entry: Mapping[str, Any]) -> float:
    """Pixels of a record's mask, else of its box."""
    if "segmentation" in entry:
        return float(mask_utils.area(entry["segmentation"]))
    return entry["bbox"][2] * entry["bbox"][3]
