"""From a clip of any size to the arrays of the input: resized to a square, moved, flipped, sheared, recoloured.

One map and one change of colour hold for all frames of a clip, so that what moves is what moved before; only a second
change of colour is drawn for each frame, as in the released code. A still image can be moved along a smooth path.
"""

import dataclasses

import cv2
import numpy as np

from data.pipeline.clips.clip import Clip
from data.pipeline.clips.colour import Colours, Jitter, gray
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ClipAugmentation:
    """How clips become inputs. Values are those of the released fine-tuning config, `sam2.1_hiera_b+_MOSE_finetune`.

    Attributes:
      image_size: side of the square input in pixels, a multiple of 8; frames are resized to it whatever their shape.
      flip: probability of a horizontal flip.
      degrees, shear: of the affine map, each uniform within so many degrees either way; about the middle of the input.
        It is left out where an object would vanish from frame 0.
      jitter: change of colours of the clip.
      gray: probability that all frames lose their colour.
      frame_jitter: change of colours of each frame.
      fill: colour of what the maps show from outside of a frame.
    """

    image_size: int = 1024
    flip: float = 0.5
    degrees: float = 25.0  # ours, as all below: the released fine-tuning config.
    shear: float = 20.0
    jitter: Jitter = Jitter(0.1, 0.03, 0.03)
    gray: float = 0.05
    frame_jitter: Jitter = Jitter(0.1, 0.05, 0.05)
    fill: tuple[int, int, int] = (123, 116, 103)

    def __post_init__(self):
        if self.image_size < 8 or self.image_size % 8:
            raise InputError(f"clips: image_size is {self.image_size}; it must be a multiple of 8, 8 or more")
        for field in ("flip", "gray"):
            if not 0 <= getattr(self, field) <= 1:
                raise InputError(f"clips: {field} is {getattr(self, field)}; a probability is from 0 to 1")
        if not 0 <= self.degrees <= 180 or not 0 <= self.shear < 90:
            raise InputError(
                f"clips: degrees {self.degrees} and shear {self.shear} must be from 0 to 180, and from 0 to below 90"
            )


@dataclasses.dataclass(frozen=True)
class Path:
    """How far a still image is moved until the last frame; each is uniform within so much either way.

    ours: SAM 2 does not train on images that are moved. Enough to see that it moves, and to leave most of it in view.

    Attributes:
      shift: of the side of the input.
      zoom: the scale is multiplied with up to 1 + this, or divided by it.
      turn: in degrees.
    """

    shift: float = 0.25
    zoom: float = 0.25
    turn: float = 15.0

    def times(self, share: float) -> "Path":
        """A path as long as this times `share`."""
        return Path(share * self.shift, share * self.zoom, share * self.turn)


def evaluation_fit(image_size: int) -> ClipAugmentation:
    """No augmentation: frames are resized, and that is all."""
    none = Jitter(0.0, 0.0, 0.0)
    return ClipAugmentation(image_size, flip=0.0, degrees=0.0, shear=0.0, jitter=none, gray=0.0, frame_jitter=none)


def augmented(clip: Clip, aug: ClipAugmentation, rng: np.random.Generator) -> Clip:
    """Augments a clip that has the size of the input, see `resized`."""
    side = aug.image_size
    flips, angle, shear = rng.random(3)
    flip = flips < aug.flip
    move = affine(aug.degrees * (2 * angle - 1), aug.shear * (2 * shear - 1), side)
    if flip:
        move = move @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]])
    colours, without_colour = Colours.draw(aug.jitter, rng), rng.random() < aug.gray
    own = [Colours.draw(aug.frame_jitter, rng) for _ in clip.images]
    before, after = (masks.any((1, 2)) for masks in (clip.masks[0], _moved_masks(clip.masks[0], move)))
    if (before & ~after).any() or not (aug.degrees or aug.shear):
        move = None
    images, masks = np.empty_like(clip.images), np.empty_like(clip.masks)
    for place, image in enumerate(clip.images):
        if move is not None:
            image, masks[place] = _moved_image(image, move, aug.fill), _moved_masks(clip.masks[place], move)
        else:
            masks[place] = clip.masks[place, :, :, ::-1] if flip else clip.masks[place]
            image = cv2.flip(image, 1) if flip else image
        image = colours.apply(image)
        images[place] = own[place].apply(gray(image) if without_colour else image)
    return dataclasses.replace(clip, images=images, masks=masks)


def resized(clip: Clip, side: int) -> Clip:
    """The clip with frames of `side` x `side` pixels; a mask has the pixels of which it covers half or more."""
    images = np.empty((len(clip.images), side, side, 3), np.uint8)
    masks = np.empty((*clip.masks.shape[:2], side, side), np.uint8)
    for place, image in enumerate(clip.images):
        images[place] = _fit(image, side)
        for number, mask in enumerate(clip.masks[place]):
            masks[place, number] = _fit(255 * mask, side) >= 128
    return dataclasses.replace(clip, images=images, masks=masks)


def along_path(
    clip: Clip, frames: int, path: Path, reverse: float, fill: tuple[int, int, int], rng: np.random.Generator
) -> Clip:
    """Makes a clip of one frame, square, into one of several: the image is moved along a smooth path.

    Frame 0 is the image as it is. Time is reversed with probability `reverse`, if that leaves an object in frame 0;
    those objects that it then lacks are left out.
    """
    side = clip.images.shape[1]
    ends = 2 * rng.random(4) - 1
    waves, phases, backward = 0.3 * rng.random(4), rng.random(4), rng.random() < reverse
    time = np.linspace(0, 1, frames)[:, None]
    # Slow at both ends, and on the way a little to and fro, so that no two paths are of one shape.
    steps = ends * (3 * time**2 - 2 * time**3) + waves * (np.sin(np.pi * (2 * time + phases)) - np.sin(np.pi * phases))
    moves = []
    for across, down, zoom, turn in steps:
        move = affine(path.turn * turn, 0.0, side, (1 + path.zoom) ** zoom)
        move[:, 2] += path.shift * side * np.array([across, down])
        moves.append(move)
    still = dataclasses.replace(clip, images=np.repeat(clip.images, frames, 0), masks=np.repeat(clip.masks, frames, 0))
    result = moved(still, moves, fill)
    last = result.masks[-1].any((1, 2))
    if backward and last.any():
        result = dataclasses.replace(result, images=result.images[::-1], masks=result.masks[::-1, last])
    return result


def affine(degrees: float, shear: float, side: int, scale: float = 1.0) -> np.ndarray:
    """float64[2, 3]: the map of pixel centres of torchvision's `affine`, about the middle of a square of `side` pixels.

    Args:
      degrees: of rotation, clockwise as seen.
      shear: along x, in degrees, before the rotation.
      scale: of lengths.
    """
    angle, slope = np.deg2rad(degrees), np.tan(np.deg2rad(shear))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * turn @ np.array([[1, -slope], [0, 1]])
    middle = np.full(2, (side - 1) / 2)
    return np.concatenate([linear, (middle - linear @ middle)[:, None]], axis=1)


def moved(clip: Clip, moves: list[np.ndarray], fill: tuple[int, int, int]) -> Clip:
    """Each frame by its own map float[2, 3], images linearly and masks by nearest neighbour."""
    images, masks = np.empty_like(clip.images), np.empty_like(clip.masks)
    for place, move in enumerate(moves):
        images[place], masks[place] = (
            _moved_image(clip.images[place], move, fill),
            _moved_masks(clip.masks[place], move),
        )
    return dataclasses.replace(clip, images=images, masks=masks)


def _moved_image(image: np.ndarray, move: np.ndarray, fill: tuple[int, int, int]) -> np.ndarray:
    return cv2.warpAffine(image, move, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderValue=fill)


def _moved_masks(masks: np.ndarray, move: np.ndarray) -> np.ndarray:
    found = np.empty_like(masks)
    for number, mask in enumerate(masks):
        found[number] = cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    return found


def _fit(pixels: np.ndarray, side: int) -> np.ndarray:
    """Linear where a side grows, and by area where both shrink."""
    shrinks = min(pixels.shape[:2]) >= side
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
