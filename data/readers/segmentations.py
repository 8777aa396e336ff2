"""COCO segmentations (polygons, plain and compressed RLE) as masks, and what can be wrong with them."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from data.pipeline.masks import code_of, run_lengths
from dataseg_jax.errors import InputError


def encode(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Checks a segmentation of an image and gives it as compressed RLE {"size", "counts"}, as `Masks` takes it.

    {"union": [...]} is what any of these segmentations covers; a list of it is one object of several annotations.

    pycocotools trusts what it gets: a wrong count makes it read and write where it must not.

    Raises:
      InputError: the rule that it breaks, without file and record.
    """
    parts = segmentation.get("union") if isinstance(segmentation, dict) else None
    if isinstance(parts, list) and parts:
        return mask_utils.merge([_encode_one(part, height, width) for part in parts])
    return _encode_one(segmentation, height, width)


def _encode_one(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    if not segmentation:
        raise InputError("it has no segmentation; it needs polygons or an RLE")
    if isinstance(segmentation, list):
        for number, polygon in enumerate(segmentation):
            _check_polygon(number, polygon, height, width)
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if not isinstance(segmentation, dict):
        raise InputError(
            f"its segmentation is of type {type(segmentation).__name__}; it must be a list of polygons or an RLE"
        )
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise InputError(f"its RLE has size {size!r}; it must be [height, width]")
    if size != [height, width]:
        raise InputError(f"its RLE is {size[1]}x{size[0]}, but the image is {width}x{height} (width x height)")
    if isinstance(counts, str):
        try:
            code = counts.encode("ascii")
        except UnicodeEncodeError as error:
            raise InputError("the counts of its RLE hold characters that no compressed RLE has") from error
        lengths = run_lengths(code)
        _check_sum(lengths, height, width)
        if lengths[1:].all():
            return {"size": [height, width], "counts": code}
        return code_of(lengths, height, width)
    if not isinstance(counts, list) or not all(type(n) is int and abs(n) < 2**63 for n in counts):
        raise InputError("the counts of its RLE must be a string or a list of whole numbers")
    _check_sum(np.array(counts or [0], np.float64), height, width)  # Floats: any whole number fits.
    return code_of(np.array(counts, np.int64), height, width)


def decode_union(rles: Sequence[dict[str, Any]]) -> np.ndarray:
    """uint8[H, W], in rows: the pixels of one or several RLE that `encode` gave."""
    return cv2.transpose(mask_utils.decode(mask_utils.merge(list(rles))).T)


def area(rle: dict[str, Any]) -> int:
    """Number of pixels of an RLE that `encode` gave."""
    return int(mask_utils.area(rle))


def _check_polygon(number: int, polygon: Any, height: int, width: int) -> None:
    if not isinstance(polygon, list) or not all(type(v) in (int, float) and abs(v) < 1e300 for v in polygon):
        raise InputError(f"polygon {number} of its segmentation must be a list of finite numbers x, y, x, y, ...")
    if len(polygon) < 6:
        raise InputError(f"polygon {number} of its segmentation has {len(polygon) // 2} points; it needs 3 or more")
    if len(polygon) % 2:
        raise InputError(f"polygon {number} of its segmentation has {len(polygon)} numbers; points need x and y each")
    # Some pixels over the edge are common and cut; pycocotools walks along every side, however long.
    for values, most, name in ((polygon[0::2], width, "x"), (polygon[1::2], height, "y")):
        low, high = min(values), max(values)
        if low < -most or high > 2 * most:
            raise InputError(
                f"polygon {number} of its segmentation has {name} from {low:g} to {high:g}, far outside of the "
                f"{width}x{height} image"
            )


def _check_sum(counts: Sequence[int] | np.ndarray, height: int, width: int) -> None:
    if (counts < 0).any():
        raise InputError("the counts of its RLE go below 0")
    if counts.sum() != height * width:
        raise InputError(
            f"the counts of its RLE sum to {counts.sum():.0f}, but the {width}x{height} image has {height * width} "
            "pixels"
        )
