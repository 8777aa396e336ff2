"""Flip, large-scale jitter, fixed-size crop and pad; picture, segments and boxes follow one affine map.

The jitter is detectron2's: the picture is fitted into the input size times a random factor, then cropped or padded.
A factor of 1 without flip is the fit that evaluation uses.
"""

import dataclasses

import cv2
import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.regions import boxes_and_areas
from dataseg_jax.errors import InputError

STRIDE = 4  # That of dataseg_jax.types, which cannot be imported without JAX.
MIN_SEGMENT_AREA = 8  # Pixels of the input; half a cell of the mask grid.
MIN_BOX_SIDE = 1.0  # Pixels of the input.
MIN_BOX_SHARE = 0.05  # Share of a box's area that the crop must leave.


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How pictures of a dataset become inputs of one size.

    Attributes:
      image_size: (height, width) of the input, multiples of 4.
      flip: probability of a horizontal flip.
      scale: range of the large-scale jitter; the factor is drawn uniformly.
    """

    image_size: tuple[int, int]
    flip: float = 0.5
    scale: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self):
        if any(side <= 0 or side % STRIDE for side in self.image_size):
            raise InputError(f"image_size must be positive multiples of {STRIDE}, not {self.image_size}")
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip must be a probability, not {self.flip}")
        if not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise InputError(f"scale must be a range (low, high) with 0 < low <= high, not {self.scale}")


def evaluation_fit(image_size: tuple[int, int]) -> Augmentation:
    """The deterministic fit: aspect ratio kept, the picture as large as `image_size` allows."""
    return Augmentation(image_size, flip=0.0, scale=(1.0, 1.0))


def augment(example: Example, aug: Augmentation, rng: np.random.Generator) -> tuple[Example, tuple[int, int]]:
    """Flips, scales, crops and pads one example.

    Segments under `MIN_SEGMENT_AREA` pixels stop being targets (their pixels become `NO_TARGET`), as do boxes that
    the crop leaves thinner than `MIN_BOX_SIDE` or with less than `MIN_BOX_SHARE` of their area. Boxes of examples
    with segments are measured again on what is left of the segments.

    Args:
      example: the picture as read.
      aug: what to do.
      rng: four numbers are drawn from it, whatever `aug` says.

    Returns:
      The example at `aug.image_size`, padded at the bottom and right with black that is void, and the (height,
      width) of the part that is picture.
    """
    input_height, input_width = aug.image_size
    height, width = example.image.shape[:2]
    flip, factor, down, across = rng.random(4)
    flip = flip < aug.flip
    factor = aug.scale[0] + (aug.scale[1] - aug.scale[0]) * factor
    ratio = min(input_height * factor / height, input_width * factor / width)
    scaled = max(1, round(height * ratio)), max(1, round(width * ratio))
    top = round(down * max(0, scaled[0] - input_height))
    left = round(across * max(0, scaled[1] - input_width))
    size = min(scaled[0], input_height), min(scaled[1], input_width)

    def moved(pixels: np.ndarray, interpolation: int, padding: int) -> np.ndarray:
        if flip:
            pixels = cv2.flip(pixels, 1)
        if scaled != (height, width):
            pixels = cv2.resize(pixels, scaled[::-1], interpolation=interpolation)
        padded = np.full((*aug.image_size, *pixels.shape[2:]), padding, pixels.dtype)
        padded[: size[0], : size[1]] = pixels[top : top + size[0], left : left + size[1]]
        return padded

    image = moved(example.image, cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR, 0)
    if example.segments is None:
        segments = None
        stretch = scaled[1] / width, scaled[0] / height  # Not `ratio`: the scaled size is rounded to pixels.
        boxes, keep = _move_boxes(example.boxes, width if flip else None, stretch, (left, top), size)
        boxes = boxes[keep]
    else:
        segments = moved(example.segments, cv2.INTER_NEAREST_EXACT, VOID)
        segments, boxes, keep = _drop_small(segments, len(example.labels))
    return (
        dataclasses.replace(example, image=image, labels=example.labels[keep], boxes=boxes, segments=segments),
        size,
    )


def _move_boxes(
    boxes: np.ndarray,
    flip_width: int | None,
    stretch: tuple[float, float],
    offset: tuple[int, int],
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes after flip, stretch (x, y) and crop, and which of them are more than slivers."""
    x, y = boxes[:, 0::2].astype(np.float64), boxes[:, 1::2].astype(np.float64)
    if flip_width is not None:
        x = flip_width - x[:, ::-1]
    x, y = x * stretch[0] - offset[0], y * stretch[1] - offset[1]
    whole = np.diff(x)[:, 0] * np.diff(y)[:, 0]
    x, y = np.clip(x, 0, size[1]), np.clip(y, 0, size[0])
    w, h = np.diff(x)[:, 0], np.diff(y)[:, 0]
    keep = (w >= MIN_BOX_SIDE) & (h >= MIN_BOX_SIDE) & (w * h >= MIN_BOX_SHARE * whole)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32), keep


def _drop_small(segments: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments renumbered without the small ones, boxes of those kept, and which are kept."""
    boxes, areas = boxes_and_areas(segments, count)
    keep = areas >= MIN_SEGMENT_AREA
    if keep.all():
        return segments, boxes, keep
    table = np.full(count + 2, NO_TARGET, np.int32)
    table[VOID] = VOID  # Negative values index the table from its end.
    table[:count][keep] = np.arange(keep.sum())
    return table[segments], boxes[keep], keep
