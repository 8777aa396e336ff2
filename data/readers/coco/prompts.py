"""Prompts on images, boxes or points, in a COCO-style JSON: what an annotator asks a model of masks for."""

import array
import dataclasses
import math
import os
from typing import Any

import numpy as np

from data.readers.coco import entries
from data.readers.coco.json_stream import stream
from data.readers.table import Images, Rows, Table
from data.source import Record, require_path
from dataseg_jax.io.images import LIMITS, Limits, decode_rgb, read_inside
from dataseg_jax.io.untrusted import spell
from dataseg_jax.text.vocabulary import Vocabulary

KINDS = ("images", "boxes", "points")
MOST_POINTS = 1000  # ours: of an annotation; each prompt is padded to as many as the largest of its image.
# What stands for every category where none is named, as in SA-1B.
OBJECT = Vocabulary("object", ("object",), (True,), (1,))
_NEEDS = {
    "images": "nothing",
    "boxes": "image_id, category_id and a bbox of four numbers x, y, width, height",
    "points": "image_id, category_id (unless the file lists no categories) and point_coords, a list of points x, y",
}


@dataclasses.dataclass(frozen=True)
class Points:
    """Clicks on one object: xy float64[M, 2] in pixels of the image, labels int[M], 1 on the object and 0 off it."""

    xy: np.ndarray
    labels: np.ndarray


class CocoPrompts:
    """The images of a COCO-style JSON, sorted by image id, with the boxes or the points of its annotations.

    Points are SA-1B's field `point_coords`, [[x, y], ...] in pixels of the image. ours: `point_labels`, one 1 or 0 for
    each point, says which are on the object; without it all are. Annotations of crowds are kept, with `crowd` set.

    Attributes:
      own_ids: whether every annotation has an id, an integer, and no two have the same; else ids are counted from 1.

    Args:
      vocabulary: its `ids` are the category ids of the JSON; `OBJECT` takes annotations without any.
      kind: "boxes" or "points"; "images": annotations are not looked at.
      images: folder of the images.
      annotations: the JSON file.
      limit: keep the first so many images by image id, 0 = all.
      limits: what a file of an image may have.

    Raises:
      InputError: a path is missing, the JSON is malformed, or it lists no image.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        kind: str,
        images: str,
        annotations: str,
        limit: int = 0,
        limits: Limits = LIMITS,
    ):
        self.vocabulary, self.kind, self.limits = vocabulary, kind, limits
        self.annotations = require_path(kind, annotations, "annotation file")
        self.image_folder = require_path(kind, images, "image folder")
        self._ids, self._ends = array.array("q"), array.array("q")
        self._points, self._labels = array.array("d"), array.array("b")
        self.own_ids = True
        rows, listed = Rows(), Images()

        def add_image(number: int, entry: Any, _: str) -> None:
            listed.append(entries.load_image(annotations, number, entry))

        def add_prompt(number: int, entry: Any, _: str) -> None:
            if kind != "images":
                try:
                    self._add(number, entry, rows)
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                    raise entries.malformed(annotations, "annotation", number, _NEEDS[kind], error) from error

        content = stream(annotations, {"images": add_image, "annotations": add_prompt})
        if vocabulary is not OBJECT:
            entries.require_same_names(annotations, content, vocabulary)
        self.own_ids = self.own_ids and len(np.unique(np.array(self._ids))) == len(self._ids)
        self._table = Table(annotations, limit, listed, rows, entries.locate(annotations, listed, images))

    def _add(self, number: int, entry: Any, rows: Rows) -> None:
        box = entry["bbox"] if self.kind == "boxes" else (0, 0, 0, 0)
        category = entry.get("category_id", 1) if self.vocabulary is OBJECT else entry["category_id"]
        # The row takes the place of the segment's id: it finds the points, and the annotation's own id.
        rows.append_entry(entry | {"category_id": category}, box, segment_id=len(self._ids))
        own = entry.get("id")
        has_id = type(own) is int and 0 <= own < 2**53  # What other programs read of a JSON without loss.
        self.own_ids = self.own_ids and has_id
        self._ids.append(own if has_id else 0)
        if self.kind == "points":
            xy, labels = _points(entry)
            self._points.extend(xy)
            self._labels.extend(labels)
        self._ends.append(len(self._labels))

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        """Image `index`; `segment_ids` are the rows that `annotation_id` and `points` take."""
        return self._table.record(index)

    def annotation_id(self, row: int) -> int:
        """The id of an annotation in the file, or its number from 1 where `own_ids` is false."""
        return self._ids[row] if self.own_ids else int(row) + 1

    def points(self, row: int) -> Points:
        """The clicks of an annotation, at least one of them on the object."""
        first, end = self._ends[row - 1] if row else 0, self._ends[row]
        xy = np.array(self._points[2 * first : 2 * end]).reshape(-1, 2)
        return Points(xy, np.array(self._labels[first:end], np.int64))

    def read_image(self, record: Record) -> np.ndarray:
        """Reads the image, uint8[H, W, 3] RGB. Raises InputError."""
        return decode_rgb(read_inside(record.image, self.image_folder, self.limits), record.image, self.limits)

    def name(self, record: Record) -> str:
        """The path of a record's image below the folder of the images, with slashes."""
        return os.path.relpath(record.image, self.image_folder).replace(os.sep, "/")


def _points(entry: dict[str, Any]) -> tuple[list[float], list[int]]:
    """Coordinates one after the other, and labels. Raises KeyError, ValueError, OverflowError."""
    points = entry["point_coords"]
    if not isinstance(points, list) or not 1 <= len(points) <= MOST_POINTS:
        raise ValueError(f"point_coords {spell(points)} is no list of 1 to {MOST_POINTS} points")
    flat: list[float] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or any(type(v) not in (int, float) for v in point):
            raise ValueError(f"the point {spell(point)} of point_coords is no list of two numbers x, y")
        if not all(math.isfinite(v) for v in map(float, point)):
            raise ValueError(f"the point {spell(point)} of point_coords is not finite")
        flat += map(float, point)
    labels = entry.get("point_labels", [1] * len(points))
    if not isinstance(labels, list) or len(labels) != len(points) or any(type(v) is not int for v in labels):
        raise ValueError(f"point_labels {spell(labels)} is no list of one 1 or 0 for each of {len(points)} points")
    if not set(labels) <= {0, 1} or 1 not in labels:
        raise ValueError(
            f"point_labels {spell(labels)} must be 1 (on the object) or 0 (off it), at least one of them 1"
        )
    return flat, labels
