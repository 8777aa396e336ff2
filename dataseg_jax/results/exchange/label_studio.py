"""Answers as tasks with predictions of Label Studio (pre-annotations): brush, polygons or rectangles.

The format: https://labelstud.io/guide/predictions. Coordinates are percent of the image's width and height.
"""

from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from dataseg_jax.results.exchange import brush
from dataseg_jax.results.exchange.outline import outlines
from dataseg_jax.text import Vocabulary

FROM, TO = "label", "image"  # Names of the tags in `config`.
SHAPES = {"brush": "BrushLabels", "polygons": "PolygonLabels", "rectangles": "RectangleLabels"}
LOCAL_FILES = "/data/local-files/?d="  # How Label Studio addresses files of a folder that it serves.


def task(result, address: str, shapes: str = "brush", model: str = "dataseg_jax") -> dict:
    """One image and its answer as a task to import.

    Args:
      result: a `Segmentation` of any task; that of the detection task gives rectangles.
      address: of the image for Label Studio, `address_of`.
      shapes: "brush": the mask as it is; "polygons": its outlines within a pixel, a region for each of its parts, holes
        filled; "rectangles": the box of the mask.
      model: the model_version, by which Label Studio groups predictions.
    """
    shapes = "rectangles" if result.task == "detection" else shapes
    regions = [region for segment in result.segments for region in _regions(result, segment, shapes)]
    scores = [segment.score for segment in result.segments if segment.score is not None]
    prediction = {"model_version": model, "result": regions}
    if scores:
        prediction["score"] = float(np.mean(scores))
    return {"data": {TO: address}, "predictions": [prediction]}


def address_of(name: str, prefix: str = LOCAL_FILES) -> str:
    """The address of a file below the folder that Label Studio serves; `name` has "/" between folders."""
    return prefix + quote(name)


def config(vocabulary: Vocabulary, shapes: str = "brush") -> str:
    """The labelling interface, XML, that shows such predictions."""
    tag = SHAPES[shapes]
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in vocabulary.names)
    return (
        f'<View>\n  <Image name="{TO}" value="${TO}" zoom="true"/>\n  <{tag} name="{FROM}" toName="{TO}">\n'
        f"{labels}\n  </{tag}>\n</View>\n"
    )


def _regions(result, segment, shapes: str) -> list[dict]:
    kind = SHAPES[shapes].lower()
    height, width = result.ids.shape
    common = {
        "type": kind,
        "from_name": FROM,
        "to_name": TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    } | ({} if segment.score is None else {"score": segment.score})
    return [
        {"id": f"segment{segment.id}" + f"_{part}" * (part > 0), **common, "value": value | {kind: [segment.name]}}
        for part, value in enumerate(_values(result, segment, shapes))
    ]


def _values(result, segment, shapes: str) -> list[dict]:
    percent = 100 / np.array(result.ids.shape[::-1])
    if shapes == "brush":
        return [{"format": "rle", "rle": brush.encode(result.mask(segment))}]
    if shapes == "polygons":
        parts = outlines(result.mask(segment))
        return [{"points": (corners * percent).tolist(), "closed": True} for corners in parts]
    low, high = np.reshape(_box(result, segment), (2, 2)) * percent
    (x, y), (width, height) = low.tolist(), (high - low).tolist()
    return [{"x": x, "y": y, "width": width, "height": height, "rotation": 0}]


def _box(result, segment) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 in pixels, within the image: of the detection task the model's, else around the mask."""
    height, width = result.ids.shape
    if result.task == "detection":
        return tuple(np.clip(segment.box, 0, (width, height, width, height)).tolist())
    mask = result.mask(segment)
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
