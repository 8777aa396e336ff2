"""What both kinds of models do with boxes: which can be asked about, and what becomes of one without a mask."""

import numpy as np

from data.readers.coco.boxes import clipped, has_area
from data.source import Record
from dataseg_jax.results.rle import Masks
from experiments.annotate.annotation import Annotation


def usable_boxes(record: Record, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of a record as corners float[T, 4] cut at the image, and bool[T]: no crowd, and of some area."""
    boxes = clipped(record.boxes, *size)
    return boxes, ~record.crowd & has_area(record.boxes) & (boxes[:, 2:] > boxes[:, :2]).all(1)


def crowd(own: int, record: Record, place: int, box: np.ndarray, size: tuple[int, int]) -> list[Annotation]:
    """A crowd of all the box, which training treats as void: an object is there, it is not background. None, where
    the box has no pixel."""
    pixels = _rectangle(box, size)
    if not pixels.any():
        return []
    code = Masks.encode([pixels]).rle[0]
    fields = {"area": int(pixels.sum()), "iscrowd": 1}
    return [Annotation(own, int(record.categories[place]), code, tuple(record.boxes[place]), fields)]


def _rectangle(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool[H, W]: the pixels of a box x0 y0 x1 y1, rounded outwards."""
    pixels = np.zeros(size, bool)
    if np.isfinite(box).all():
        x0, y0, x1, y1 = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(int)
        pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return pixels
