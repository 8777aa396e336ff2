"""A clip: a few frames, the masks of a few objects in them, and which of both are padding."""

import dataclasses

import numpy as np

from data.example import Example
from data.readers.video.videos import Video
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one video in the order in which they are shown, of one size.

    Attributes:
      images: uint8[t, H, W, 3], RGB; t frames, before any padding.
      masks: uint8[t, o, H, W], 0 or 1, of o objects, all of which frame 0 shows. They may overlap.
      file: for messages.
    """

    images: np.ndarray
    masks: np.ndarray
    file: str


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Which frames of a video become a clip (SAM 2, its section on training).

    Attributes:
      frames: T, at most so many frames; a shorter video gives all of its annotated ones.
      max_stride: of annotated frames every s-th is taken, s uniform in 1 to this.
      reverse: probability that time is reversed.
    """

    frames: int = 8
    max_stride: int = 1  # ours: the released code takes annotated frames that follow each other.
    reverse: float = 0.5  # ours: the released sampler has it as an option, 0 in its fine-tuning config.

    def __post_init__(self):
        if self.frames < 1 or self.max_stride < 1:
            raise InputError(
                f"clips: {self.frames} frames at a stride of up to {self.max_stride}; both must be 1 or more"
            )
        if not 0 <= self.reverse <= 1:
            raise InputError(f"clips: reverse is {self.reverse}; a probability is from 0 to 1")


def clip_of_video(video: Video, sampling: Sampling, most: int, rng: np.random.Generator) -> Clip:
    """Draws frames that begin with one that shows an object, and up to `most` of the objects that it shows.

    Args:
      video: that was opened.
      sampling: which frames.
      most: objects.
      rng: the random numbers of this example.

    Raises:
      InputError: a frame or mask cannot be read, frames or masks differ in size, or no frame shows an object.
    """
    annotated = video.annotated
    count = min(sampling.frames, len(annotated))
    longest = (len(annotated) - 1) // (count - 1) if count > 1 else 1
    stride = int(rng.integers(1, min(sampling.max_stride, longest) + 1))
    reverse = rng.random() < sampling.reverse
    for start in rng.permutation(len(annotated) - stride * (count - 1)).tolist():
        frames = annotated[start : start + stride * (count - 1) + 1 : stride]
        first = video.masks(frames[-1 if reverse else 0])
        if first:
            break
    else:
        raise InputError(f"{video.file}: no annotated frame that a clip may begin with shows an object")
    objects = _chosen(sorted(first), most, rng)
    images = masks = None
    # Written where they belong in the order in which they are shown.
    places = range(count)[:: -1 if reverse else 1]
    for place, frame, image in zip(places, frames, video.images(frames), strict=True):
        size = image.shape[:2]
        if images is None:
            images, masks = np.empty((count, *image.shape), np.uint8), np.zeros((count, len(objects), *size), np.uint8)
        if size != images.shape[1:3]:
            raise InputError(f"{video.file}: frame {frame} is of another size than frame {frames[0]}")
        images[place] = image
        for number, mask in video.masks(frame, objects).items():
            if mask.shape != size:
                raise InputError(f"{video.file}: masks of frame {frame} are of another size than the frame")
            masks[place, objects.index(number)] = mask
    return Clip(images, masks, video.file)


def clip_of_image(example: Example, most: int, rng: np.random.Generator) -> Clip:
    """A clip of one frame: an image, and up to `most` of its targets.

    Raises:
      InputError: the image has boxes only, or no target.
    """
    if example.segments is None:
        raise InputError(f"{example.file}: has boxes only; a clip needs masks")
    if not len(example.labels):
        raise InputError(f"{example.file}: shows no object")
    targets = _chosen(list(range(len(example.labels))), most, rng)
    if example.masks is not None:
        masks = [example.masks[target] for target in targets]
    else:
        masks = [(example.segments == target).view(np.uint8) for target in targets]
    return Clip(example.image[None], np.stack(masks)[None], example.file)


def _chosen(numbers: list[int], most: int, rng: np.random.Generator) -> list[int]:
    """Up to `most` of the numbers, without repetition, in random order."""
    return rng.permutation(numbers)[:most].tolist()
