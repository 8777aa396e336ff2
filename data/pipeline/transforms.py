"""Flip, large-scale jitter, fixed-size crop, rotation and pad; image, segments, masks and boxes follow one affine map.

The jitter is detectron2's: the image is fitted into the input size times a random factor, then cropped or padded.
A factor of 1 without flip is the fit that evaluation uses. InSPyReNet's augmentation of foreground sets is
`stretch`, a `scale` with `scale_chance` 0.5, `rotate` and `colour_mode` "enhance".

Padding is black. detectron2 pads with the mean of the pixels, which is 0 after normalisation; here checkpoints were
trained with black, and `dataseg_jax.inference.preprocess.fit` pads as training does.
"""

import dataclasses

import cv2
import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline.augmentation import colour
from data.pipeline.augmentation.crop import Crop, choose_crop
from data.pipeline.augmentation.enhance import enhance_colours
from data.pipeline.augmentation.rotation import Rotation
from data.pipeline.masks import Masks
from data.pipeline.phrases import mirrored
from data.pipeline.regions import boxes_and_areas, relabelled
from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import STRIDE

MIN_AREA = 8.0  # Pixels of the input; half a cell of the mask grid.
MIN_BOX_SIDE = 1.0  # Pixels of the input.
MIN_BOX_SHARE = 0.05  # Share of a box's area that the crop must leave.
COLOUR_MODES = ("jitter", "enhance")
MOST_DEGREES = 45.0  # ours: from there on a rotation shows no more of an image than one the other way.


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How images of a dataset become inputs of one size.

    Attributes:
      image_size: (height, width) of the input, multiples of 4.
      flip: probability of a horizontal flip.
      scale: range of the large-scale jitter; the factor is drawn uniformly.
      colour: strength of the change of colours, 0 = none, 1 = that of the method which `colour_mode` names.
      min_area: targets of fewer pixels of the input stop being targets.
      fill: colour of the padding. The mean of the data is what detectron2 pads with; black was the default of version
        0.1.0. ours: on CamVid from scratch (500 steps, 101 images) the mean gave 35.5 and 34.7 mIoU, black 32.9 and
        33.1, without and with steps that do not merge.
      rotate: the image is turned with probability 1/2, by up to so many degrees either way; needs masks. Pixels from
        outside of the image are of the colour `fill`, and void.
      scale_chance: probability that `scale` is used; else the factor is 1.
      stretch: the image is resized to the whole input, whatever its aspect ratio, before it is scaled.
      colour_mode: "jitter", MaskFormer's for semantic sets (`data.pipeline.augmentation.colour`), or "enhance",
        InSPyReNet's for foreground sets (`data.pipeline.augmentation.enhance`).
    """

    image_size: tuple[int, int]
    flip: float = 0.5
    scale: tuple[float, float] = (0.1, 2.0)
    colour: float = 0.0
    min_area: float = MIN_AREA
    fill: tuple[int, int, int] = (0, 0, 0)
    rotate: float = 0.0
    scale_chance: float = 1.0
    stretch: bool = False
    colour_mode: str = "jitter"

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
        if not 0 <= self.rotate <= MOST_DEGREES:
            raise InputError(f"rotate must be from 0 to {MOST_DEGREES:g} degrees, not {self.rotate}")
        if not 0 < self.scale_chance <= 1:
            raise InputError(f"scale_chance must be a probability above 0, not {self.scale_chance}")
        if self.colour_mode not in COLOUR_MODES:
            raise InputError(f"colour_mode must be {' or '.join(COLOUR_MODES)}, not {self.colour_mode!r}")


def evaluation_fit(image_size: tuple[int, int]) -> Augmentation:
    """The deterministic fit: aspect ratio kept, the image as large as `image_size` allows."""
    return Augmentation(image_size, flip=0.0, scale=(1.0, 1.0))


def augment(example: Example, aug: Augmentation, rng: np.random.Generator) -> tuple[Example, tuple[int, int]]:
    """Flips, scales, crops, turns and pads one example, and changes its colours.

    Targets that the crop leaves under `aug.min_area` pixels stop being targets; the pixels of segments become
    `NO_TARGET`. So do boxes thinner than `MIN_BOX_SIDE` or with less than `MIN_BOX_SHARE` of their area left.
    Boxes of examples with segments or masks are measured again on what is left of those.

    Args:
      example: the image as read.
      aug: what to do.
      rng: the same count of numbers is drawn from it for every image, and one more if `aug` rotates.

    Returns:
      The example at `aug.image_size`, padded at the bottom and right with `aug.fill`, which is void, and the (height,
      width) of the part that is image. Segments are of the smallest signed type that holds the targets.

    Raises:
      InputError: `aug` rotates, and the example has boxes only.
    """
    if aug.rotate and example.segments is None:
        raise InputError(f"{example.file}: has boxes only, and a box that is turned is none; leave rotate at 0")
    draws = rng.random(4 + colour.DRAWS + bool(aug.rotate))
    flip, place, down, across = draws[:4]
    crop = choose_crop(
        *example.image.shape[:2], aug.image_size, factor=_factor(aug, place), down=down, across=across,
        flip=flip < aug.flip, stretch=aug.stretch,
    )  # fmt: skip
    turn = _rotation(aug, crop.size, draws[-1]) if aug.rotate else None
    image = _image(example.image, crop, aug, draws[4 : 4 + colour.DRAWS])
    image = _padded(turn.of_image(image, aug.fill) if turn else image, aug.image_size, aug.fill)
    if example.segments is None:
        segments = masks = None
        boxes, keep = _move_boxes(example.boxes, crop, aug.min_area)
    else:
        count = len(example.labels)
        small = next(t for t in (np.int8, np.int16, np.int32) if count <= np.iinfo(t).max)
        segments = crop.resized(crop.of(example.segments).astype(small), cv2.INTER_NEAREST_EXACT)
        segments = turn.of_segments(segments, VOID) if turn else segments
        segments = _padded(segments, aug.image_size, (VOID,) * 3)
        if example.masks is None:
            masks = None
            segments, boxes, keep = _drop_small(segments, count, aug.min_area)
        else:
            masks, boxes, keep = _move_masks(example.masks, crop, aug, turn)
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


def _factor(aug: Augmentation, draw: float) -> float:
    """The factor of the jitter that a number uniform in [0, 1) stands for."""
    if draw >= aug.scale_chance and aug.scale_chance < 1:
        return 1.0
    return aug.scale[0] + (aug.scale[1] - aug.scale[0]) * (draw / aug.scale_chance)


def _rotation(aug: Augmentation, size: tuple[int, int], draw: float) -> Rotation | None:
    """The turn that a number uniform in [0, 1) stands for; None for half of them."""
    return Rotation(*size, aug.rotate * (4 * draw - 1)) if draw < 0.5 else None


def _image(image: np.ndarray, crop: Crop, aug: Augmentation, draws: np.ndarray) -> np.ndarray:
    image, strength = crop.of(image), aug.colour
    if aug.colour_mode == "enhance":
        image = crop.resized(image, cv2.INTER_AREA if crop.shrinks else cv2.INTER_LINEAR)
        return enhance_colours(image, strength, draws) if strength else image
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


def _move_masks(
    masks: Masks, crop: Crop, aug: Augmentation, turn: Rotation | None
) -> tuple[Masks, np.ndarray, np.ndarray]:
    """Masks at the size of the input without the small ones, their boxes, and which are kept.

    Pixel by pixel as `Crop.resized` and `Rotation.of_segments` would move each of them.
    """
    rows, columns = crop.sources()
    moved = masks.sampled(crop.top + rows, crop.left + columns, aug.image_size, crop.flip)
    moved = turn.of_masks(moved) if turn else moved
    keep = moved.areas >= aug.min_area
    moved = moved[keep]
    return moved, moved.boxes.astype(np.float32), keep
