"""Flip, large-scale jitter, fixed-size crop and pad; image, segments, masks and boxes follow one affine map.

The jitter is detectron2's: the image is fitted into the input size times a random factor, then cropped or padded.
A factor of 1 without flip is the fit that evaluation uses.

Padding is black. detectron2 pads with the mean of the pixels, which is 0 after normalisation; here checkpoints were
trained with black, and `dataseg_jax.inference.preprocess.fit` pads as training does.
"""

import dataclasses

import cv2
import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline import colour
from data.pipeline.crop import Crop, choose_crop
from data.pipeline.masks import Masks
from data.pipeline.phrases import mirrored
from data.pipeline.regions import boxes_and_areas, relabelled
from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import STRIDE

MIN_AREA = 8.0  # Pixels of the input; half a cell of the mask grid.
MIN_BOX_SIDE = 1.0  # Pixels of the input.
MIN_BOX_SHARE = 0.05  # Share of a box's area that the crop must leave.


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How images of a dataset become inputs of one size.

    Attributes:
      image_size: (height, width) of the input, multiples of 4.
      flip: probability of a horizontal flip.
      scale: range of the large-scale jitter; the factor is drawn uniformly.
      colour: strength of the colour jitter, 0 = none, 1 = MaskFormer's for semantic sets (`data.pipeline.colour`).
      min_area: targets of fewer pixels of the input stop being targets.
      fill: colour of the padding. The mean of the data is what detectron2 pads with; black was the default of version
        0.1.0. ours: on CamVid from scratch (500 steps, 101 images) the mean gave 35.5 and 34.7 mIoU, black 32.9 and
        33.1, without and with steps that do not merge.
    """

    image_size: tuple[int, int]
    flip: float = 0.5
    scale: tuple[float, float] = (0.1, 2.0)
    colour: float = 0.0
    min_area: float = MIN_AREA
    fill: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self):
        if any(side <= 0 or side % STRIDE for side in self.image_size):
            raise InputError(f"image_size must be positive multiples of {STRIDE}, not {self.image_size}")
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip must be a probability, not {self.flip}")
        if not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise InputError(f"scale must be a range (low, high) with 0 < low <= high, not {self.scale}")
        if not 0 <= self.colour <= 1:
            raise InputError(f"colour must be a strength from 0 to 1, not {self.colour}")
        if len(self.fill) != 3 or not all(0 <= value <= 255 for value in self.fill):
            raise InputError(f"fill must be a colour of three numbers from 0 to 255, not {self.fill}")
        if not 1 <= self.min_area < np.inf:
            raise InputError(f"min_area must be at least 1 pixel, not {self.min_area}")


def evaluation_fit(image_size: tuple[int, int]) -> Augmentation:
    """The deterministic fit: aspect ratio kept, the image as large as `image_size` allows."""
    return Augmentation(image_size, flip=0.0, scale=(1.0, 1.0))


def augment(example: Example, aug: Augmentation, rng: np.random.Generator) -> tuple[Example, tuple[int, int]]:
    """Flips, scales, crops and pads one example, and changes its colours.

    Targets that the crop leaves under `aug.min_area` pixels stop being targets; the pixels of segments become
    `NO_TARGET`. So do boxes thinner than `MIN_BOX_SIDE` or with less than `MIN_BOX_SHARE` of their area left.
    Boxes of examples with segments or masks are measured again on what is left of those.

    Args:
      example: the image as read.
      aug: what to do.
      rng: always the same count of numbers is drawn from it, whatever `aug` and the image are.

    Returns:
      The example at `aug.image_size`, padded at the bottom and right with `aug.fill`, which is void, and the (height,
      width) of the part that is image. Segments are of the smallest signed type that holds the targets.
    """
    flip, factor, down, across, *colours = rng.random(4 + colour.DRAWS)
    factor = aug.scale[0] + (aug.scale[1] - aug.scale[0]) * factor
    crop = choose_crop(
        *example.image.shape[:2], aug.image_size, factor=factor, down=down, across=across, flip=flip < aug.flip
    )
    image = _padded(_image(example.image, crop, aug.colour, np.array(colours)), aug.image_size, aug.fill)
    if example.segments is None:
        segments = masks = None
        boxes, keep = _move_boxes(example.boxes, crop, aug.min_area)
    else:
        count = len(example.labels)
        small = next(t for t in (np.int8, np.int16, np.int32) if count <= np.iinfo(t).max)
        segments = crop.resized(crop.of(example.segments).astype(small), cv2.INTER_NEAREST_EXACT)
        segments = _padded(segments, aug.image_size, (VOID,) * 3)
        if example.masks is None:
            masks = None
            segments, boxes, keep = _drop_small(segments, count, aug.min_area)
        else:
            masks, boxes, keep = _move_masks(example.masks, crop, aug)
    moved = dataclasses.replace(
        example, image=image, labels=example.labels[keep], boxes=boxes, segments=segments, masks=masks
    )
    return _with_phrases(moved, example, keep, crop.flip), crop.size


def _with_phrases(moved: Example, example: Example, keep: np.ndarray, flip: bool) -> Example:
    """The phrases of the targets that are kept; those of a dropped target describe nothing that can be learned."""
    if example.phrases is None:
        return moved
    of = mirrored if flip else str
    phrases = tuple(tuple(map(of, example.phrases[target])) for target in np.flatnonzero(keep))
    return dataclasses.replace(moved, phrases=phrases, absent_phrases=tuple(map(of, example.absent_phrases)))


def _image(image: np.ndarray, crop: Crop, strength: float, draws: np.ndarray) -> np.ndarray:
    image = crop.of(image)
    if strength and not crop.shrinks:  # Colours are changed where there are fewer pixels.
        image = colour.jitter_colours(image, strength, draws)
    image = crop.resized(image, cv2.INTER_AREA if crop.shrinks else cv2.INTER_LINEAR)
    return colour.jitter_colours(image, strength, draws) if strength and crop.shrinks else image


def _padded(pixels: np.ndarray, size: tuple[int, int], value: tuple[int, int, int]) -> np.ndarray:
    below, right = size[0] - pixels.shape[0], size[1] - pixels.shape[1]
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value)


def _move_boxes(boxes: np.ndarray, crop: Crop, min_area: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes after the crop's map, without those of which only slivers are left; and which are kept."""
    x, y = crop.points(boxes[:, 0::2], boxes[:, 1::2])
    x = x[:, ::-1] if crop.flip else x
    whole = np.diff(x)[:, 0] * np.diff(y)[:, 0]
    x, y = np.clip(x, 0, crop.size[1]), np.clip(y, 0, crop.size[0])
    w, h = np.diff(x)[:, 0], np.diff(y)[:, 0]
    keep = (w >= MIN_BOX_SIDE) & (h >= MIN_BOX_SIDE) & (w * h >= np.maximum(MIN_BOX_SHARE * whole, min_area))
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)[keep], keep


def _drop_small(segments: np.ndarray, count: int, min_area: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segments renumbered without the small ones, boxes of those kept, and which are kept."""
    boxes, areas = boxes_and_areas(segments, count)
    keep = areas >= min_area
    if keep.all():
        return segments, boxes, keep
    numbers = np.where(keep, np.cumsum(keep) - 1, NO_TARGET)
    return relabelled(segments, numbers.astype(segments.dtype), rest=NO_TARGET, void=VOID), boxes[keep], keep


def _move_masks(masks: Masks, crop: Crop, aug: Augmentation) -> tuple[Masks, np.ndarray, np.ndarray]:
    """Masks at the size of the input without the small ones, their boxes, and which are kept.

    Pixel by pixel as `Crop.resized` would move each of them.
    """
    rows, columns = crop.sources()
    moved = masks.sampled(crop.top + rows, crop.left + columns, aug.image_size, crop.flip)
    keep = moved.areas >= aug.min_area
    moved = moved[keep]
    return moved, moved.boxes.astype(np.float32), keep
