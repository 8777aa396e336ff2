"""Images with boxes only, in a COCO-style JSON (COCO instances, Objects365, ...)."""

import os
from typing import Any

import numpy as np

from data.example import Example
from data.readers.coco import entries
from data.readers.coco.json_stream import stream
from data.readers.table import Images, Rows, Table
from data.source import Record, Source, category_indices, require_path, require_stated_size
from dataseg_jax.text.vocabulary import Vocabulary

_NEEDS = "image_id, category_id and a bbox of four numbers x, y, width, height"


class CocoBoxes(Source):
    """Images with boxes and no masks (a `segmentation` in the file is not read).

    Crowd boxes are dropped, and so are boxes that have no area inside the image; boxes are cut at its edge.

    Attributes:
      crowd_boxes: how many boxes of the images in use are dropped as crowd.
      empty_boxes: how many more are dropped because the file gives them no area.

    Args:
      root: folder of the dataset.
      vocabulary: its `ids` are the category ids of the JSON.
      name: what to call the dataset.
      images: folder of the images below `root`.
      annotations: the JSON file below `root`.
      limit: keep the first so many images by image id, 0 = all.

    Raises:
      InputError: a path is missing, the JSON is malformed, or it lists no image.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        annotations: str = "boxes.json",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.annotations = require_path(name, os.path.join(root, annotations), "annotation file")
        self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        rows, listed = Rows(), Images()

        def add_image(number: int, entry: Any, _: str) -> None:
            listed.append(entries.load_image(self.annotations, number, entry))

        def add_target(number: int, entry: Any, _: str) -> None:
            try:
                rows.append_entry(entry, entry["bbox"])
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise entries.malformed(self.annotations, "annotation", number, _NEEDS, error) from error

        content = stream(self.annotations, {"images": add_image, "annotations": add_target})
        entries.require_same_names(self.annotations, content, vocabulary)
        locate = entries.locate(self.annotations, listed, self.image_folder)
        self._table = Table(self.annotations, limit, listed, rows, locate)
        self.defects = self._table.defects
        self.count_dropped()

    def count_dropped(self) -> None:
        """Counts what `build` leaves out whatever the size of its image."""
        self.crowd_boxes = int(self._table.crowd.sum())
        self.empty_boxes = int((~self._table.crowd & ~has_area(self._table.boxes)).sum())

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        return self._table.record(index)

    def build(self, record: Record, image: np.ndarray, mask: None) -> Example:
        require_stated_size(record, image, self.annotations)
        height, width = image.shape[:2]
        boxes = clipped(record.boxes, height, width)
        target = ~record.crowd & has_area(record.boxes) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        labels = category_indices(self, record, record.categories[target])
        phrases = self.phrases(record, np.flatnonzero(target))
        return Example(
            image, record.image_id, record.image, labels, boxes[target].astype(np.float32), None, phrases=phrases
        )


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Which boxes [T, 4] (x, y, w, h) are finite and of positive width and height."""
    return np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)


def clipped(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Turns boxes [T, 4] from x, y, w, h to x0, y0, x1, y1 cut at the edge of the image."""
    with np.errstate(over="ignore", invalid="ignore"):  # Of boxes that are finite and absurd, or not finite.
        corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return np.clip(corners, 0, [width, height, width, height])
