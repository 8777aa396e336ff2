"""Regions of a Label Studio export: brush, polygon, rectangle and ellipse, as shapes in pixels.

https://labelstud.io/guide/task_format: coordinates are percent of the image's width and height; rectangles turn
clockwise around their upper left corner, ellipses around their centre.
"""

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from data.readers import segmentations
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import spell
from dataseg_jax.results.exchange import brush

SHAPES = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")  # Types of regions that are read.
_LONGEST = 200  # Characters of a label.
_AROUND = 64  # ours: corners in place of an ellipse; they leave 0.2% of its area out.
_FARTHEST = 1e6  # Percent. Regions may stick out of the image, but not far: `segmentations.encode` says how far.


@dataclasses.dataclass(frozen=True)
class Region:
    """One object.

    Attributes:
      label: its category.
      code: its mask as compressed RLE, {"size", "counts": bytes}, with at least one pixel.
      polygon: float64[n, 2], x and y of its corners in pixels, which may lie outside of the image; None for a brush.
      is_box: whether it was drawn as a rectangle, so that the mask of the object is not known.
    """

    label: str
    code: dict[str, Any]
    polygon: np.ndarray | None = None
    is_box: bool = False


def read_region(entry: dict[str, Any], size: tuple[int, int], where: str) -> Region | None:
    """A region of the results of an annotation.

    Args:
      entry: of one of the types in `SHAPES`.
      size: height and width of the image.
      where: begins messages.

    Returns:
      The region; None where it has no label, or no pixel of the image.

    Raises:
      InputError: a field is missing or of another type, or the region is of an image of another size.
    """
    value = entry.get("value")
    if not isinstance(value, dict):
        raise InputError(f"{where}: its value is {spell(value)}; it must be an object")
    stated = entry.get("original_height"), entry.get("original_width")
    if stated != size:
        stated = " x ".join(map(spell, stated))
        raise InputError(f"{where}: was drawn on an image of {stated} (height x width), and the file has {size}")
    if entry.get("image_rotation") not in (0, None):
        raise InputError(
            f"{where}: image_rotation is {spell(entry['image_rotation'])}; turn the image's file itself, and draw on it"
        )
    kind = entry["type"]
    label = _label(value.get(kind), f"{where}: its {kind}")
    if label is None:
        return None
    if kind == "brushlabels":
        mask = brush.decode(value.get("rle"), size, where)
        code = mask_utils.encode(np.asfortranarray(mask).view(np.uint8))
        return Region(label, code) if mask.any() else None
    corners = _CORNERS[kind](value, np.array(size[::-1]) / 100, where)
    try:
        code = segmentations.encode([corners.ravel().tolist()], *size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Region(label, code, corners, kind == "rectanglelabels") if segmentations.area(code) else None


def _label(labels: Any, what: str) -> str | None:
    if labels is None or labels == []:
        return None
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise InputError(f"{what} are {spell(labels)}; a region has one label")
    label = labels[0].strip()
    if not label.isprintable() or not 0 < len(label) <= _LONGEST:
        raise InputError(f"{what} are {spell(labels)}; a label is 1 to {_LONGEST} printable characters")
    return label


def _polygon(value: dict[str, Any], scale: np.ndarray, where: str) -> np.ndarray:
    points = value.get("points")
    if not isinstance(points, list) or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise InputError(f"{where}: its points are {spell(points)}; they must be a list of [x, y]")
    corners = [[_number(x, f"{where}: a point") for x in point] for point in points]
    corners += [[0.0, 0.0]] * 3 if not corners else corners[-1:] * (3 - len(corners))  # Fewer enclose nothing.
    return np.array(corners).reshape(-1, 2) * scale


def _rectangle(value: dict[str, Any], scale: np.ndarray, where: str) -> np.ndarray:
    x, y, width, height = (_field(value, name, where) for name in ("x", "y", "width", "height"))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) * scale
    return _turned(corners, value, where) + (x, y) * scale


def _ellipse(value: dict[str, Any], scale: np.ndarray, where: str) -> np.ndarray:
    x, y, across, down = (_field(value, name, where) for name in ("x", "y", "radiusX", "radiusY"))
    angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    corners = np.stack([across * np.cos(angle), down * np.sin(angle)], 1) * scale
    return _turned(corners, value, where) + (x, y) * scale


def _turned(corners: np.ndarray, value: dict[str, Any], where: str) -> np.ndarray:
    """Clockwise around 0, by the region's rotation in degrees."""
    turn = np.deg2rad(_number(value.get("rotation", 0), f"{where}: its rotation"))
    return corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def _field(value: dict[str, Any], name: str, where: str) -> float:
    return _number(value.get(name), f"{where}: its {name}")


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not abs(value) <= _FARTHEST:
        raise InputError(f"{what} is {spell(value)}; it must be a number")
    return float(value)


_CORNERS = {"polygonlabels": _polygon, "rectanglelabels": _rectangle, "ellipselabels": _ellipse}
