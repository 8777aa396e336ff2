"""The records of SA-1B: masks of an image with what their filters saw, as JSON and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import integer, spell
from dataseg_jax.results import rle

# ours: more than any image that Pillow opens without a warning; a mask of it is decoded to one byte a pixel.
MAX_PIXELS = 2**28
# Fields of a record that are numbers, lists of so many numbers, and lists of points.
_NUMBERS, _BOXES = ("predicted_iou", "stability_score"), ("bbox", "crop_box")


def segmentation(runs: list[int], size: tuple[int, int], output_mode: str) -> np.ndarray | dict[str, Any]:
    """A mask of height and width `size` in one of the forms of the original.

    Args:
      runs: its run lengths, `rle.runs`.
      size: height and width of the image.
      output_mode: "binary_mask": bool[H, W]; "uncompressed_rle": {"size", "counts"}, counts the run lengths;
        "coco_rle": the same with COCO's text as counts.
    """
    if output_mode == "binary_mask":
        return rle.unpacked(runs, size)
    plain = {"size": list(size), "counts": runs}
    return plain if output_mode == "uncompressed_rle" else _compressed(plain)


def document(
    records: Sequence[dict[str, Any]], image_id: int, file_name: str, size: tuple[int, int], first_id: int = 1
) -> dict[str, Any]:
    """An image's JSON file in SA-1B: {"image": ..., "annotations": [...]}.

    Args:
      records: of `generate_masks`, in any output mode.
      image_id: of the image.
      file_name: of the image.
      size: its height and width.
      first_id: of the annotations, which are counted up from it.

    Raises:
      InputError: a mask of another size.
    """
    annotations = []
    for number, record in enumerate(records):
        code = _code(record["segmentation"])
        if list(code["size"]) != list(size):
            raise InputError(
                f"record {number}: its mask is {list(code['size'])}; the image is {list(size)} (height, width)"
            )
        annotations.append({"id": first_id + number, **record, "segmentation": code})
    image = {"image_id": image_id, "width": size[1], "height": size[0], "file_name": file_name}
    return {"image": image, "annotations": annotations}


def records(content: Any, where: str, output_mode: str = "binary_mask") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The image's entry and the records of such a file.

    Args:
      content: of the file, as `io.untrusted.read_json` gives it; nothing in it is trusted.
      where: the file, for messages.
      output_mode: the form of the segmentations, as of `segmentation`.

    Returns:
      "image" as it is, its width, height and image_id checked; and records as `generate_masks` gives them, with "id".

    Raises:
      InputError: something is missing, of another type, or a mask that is not one of the image.
    """
    image, annotations = (_field(content, name, kind, where) for name, kind in (("image", dict), ("annotations", list)))
    integer(image.get("image_id"), f"{where}: image_id")
    width, height = (integer(image.get(name), f"{where}: the image's {name}", 1) for name in ("width", "height"))
    if width * height > MAX_PIXELS:
        raise InputError(f"{where}: the image is {width}x{height}; it may have {MAX_PIXELS} pixels at most")
    found = [
        _record(entry, (height, width), f"{where}: annotation {number}", output_mode)
        for number, entry in enumerate(annotations)
    ]
    return image, found


def _record(entry: Any, size: tuple[int, int], where: str, output_mode: str) -> dict[str, Any]:
    code = _field(entry, "segmentation", dict, where)
    record = {"id": integer(entry.get("id"), f"{where}: its id")}
    runs = _runs(code, size, where)
    record["segmentation"] = segmentation(runs, size, output_mode)
    record["area"] = integer(entry.get("area"), f"{where}: its area", 0, size[0] * size[1])
    for name in _BOXES:
        record[name] = _numbers(entry.get(name), 4, f"{where}: its {name}")
    for name in _NUMBERS:
        record[name] = _numbers([entry.get(name)], 1, f"{where}: its {name}")[0]
    points = _field(entry, "point_coords", list, where)
    record["point_coords"] = [_numbers(point, 2, f"{where}: a point of its point_coords") for point in points]
    return record


def _field(entry: Any, name: str, kind: type, where: str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{where}: {name} is {spell(value)}; it must be {'an object' if kind is dict else 'a list'}")
    return value


def _numbers(values: Any, count: int, what: str) -> list[float]:
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        must = "a number" if count == 1 else f"a list of {count} numbers"
        raise InputError(f"{what} is {spell(values[0] if count == 1 else values)}; it must be {must}")
    return values


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # Not a number is not below it, either.


def _runs(code: dict[str, Any], size: tuple[int, int], where: str) -> list[int]:
    """Run lengths as `rle.runs` writes them, whatever a stranger's file has: none of length 0 but the first."""
    if code.get("size") != list(size):
        raise InputError(
            f"{where}: its RLE is of size {spell(code.get('size'))}; the image is {list(size)} (height, width)"
        )
    counts = code.get("counts")
    if isinstance(counts, str) and counts.isascii():
        try:
            lengths = rle.run_lengths(counts.encode())
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    elif isinstance(counts, list) and counts and all(type(n) is int and 0 <= n <= MAX_PIXELS for n in counts):
        lengths = np.array(counts, np.int64)
    else:
        raise InputError(f"{where}: the counts of its RLE are {spell(counts)}; they must be text or run lengths")
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise InputError(
            f"{where}: the counts of its RLE must be at least 0 and sum to the image's {size[0] * size[1]}"
        )
    if not lengths[1:].all():
        return rle.runs(rle.unpacked(lengths, size), (0, 0), size)
    return lengths.tolist()


def _code(mask: np.ndarray | dict[str, Any]) -> dict[str, Any]:
    """A segmentation in any form as COCO's text."""
    if isinstance(mask, np.ndarray):
        mask = {"size": list(mask.shape), "counts": rle.runs(mask, (0, 0), mask.shape)}
    return _compressed(mask) if isinstance(mask["counts"], list) else mask


def _compressed(plain: dict[str, Any]) -> dict[str, Any]:
    return {"size": plain["size"], "counts": coco.frPyObjects(plain, *plain["size"])["counts"].decode()}
