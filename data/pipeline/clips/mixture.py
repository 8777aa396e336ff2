"""Videos and images as one stream of batches of clips: `data.pipeline.mixture`, with clips for images.

`data.pipeline.reading.iterate` reads it ahead, `data.pipeline.mixture.resume(..., kind=ClipMixture)` continues it.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from data.pipeline.clips.augmentation import ClipAugmentation, Path, along_path, augmented, resized
from data.pipeline.clips.clip import Clip, Sampling, clip_of_image, clip_of_video
from data.pipeline.clips.interaction import Interaction, InteractionSettings, interaction
from data.pipeline.mixture import MIXED, Mixture, check_names_and_ratios
from data.pipeline.randomness import generator
from data.pipeline.substitutes import Failure, first_readable
from data.readers.video.videos import VideoSource
from data.source import Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary


@dataclasses.dataclass(frozen=True, eq=False)
class ClipEntry:
    """One dataset of a mixture of clips.

    Attributes:
      source: its videos; or images with masks, each of which becomes a clip of one frame.
      ratio: how often it is drawn, relative to the others.
      sampling: which frames of a video; its number of frames is that of every clip, padding included.
      augmentation: how clips become inputs.
      path: of images, how they are moved, so that a clip has all frames; None = one frame, the others are padding.
      packed: masks go to the device as bits, eight pixels of a row a byte, the first in the lowest bit
        (`np.unpackbits(..., axis=-1, bitorder="little")`): 3 objects in 8 frames of 1024 x 1024 take 3 MB, not 24.
    """

    book: ClassVar[None] = None  # Clips bring no words along,
    federated: ClassVar[None] = None  # and have no categories.
    source: Source
    ratio: float = 1.0
    sampling: Sampling = Sampling()
    augmentation: ClipAugmentation = ClipAugmentation()
    path: Path | None = None
    packed: bool = False

    @property
    def name(self) -> str:
        return self.source.name


class ClipMixture(Mixture):
    """The batches of clips of a run, by step: a function of (seed, step) alone.

    Args are those of `Mixture`; `entries` are `ClipEntry`, and `max_targets` is O, objects per clip. A batch has

      image uint8[B, T, H, W, 3]: frames in the order in which they are shown; black where they are padding;
      masks uint8[B, T, O, H, W]: 0 or 1, or packed uint8[B, T, O, H, W/8]; they may overlap;
      visible bool[B, T, O]: whether an object has a pixel in a frame;
      object_valid bool[B, O]: no padding, and visible in frame 0; all that is known of the others is 0;
      frame_valid bool[B, T]: no padding;
      video_id int32[B]: index of the video in its source, or the image id of an image;
      task int32[B]: place of the dataset in `entries`.
    """

    @staticmethod
    def check(entries: Sequence[ClipEntry], in_batch: bool) -> None:
        """Raises InputError if the entries do not give clips of one form, or a ratio is no number above 0."""
        check_names_and_ratios(entries)
        forms = [(e.sampling.frames, e.augmentation.image_size, e.packed) for e in entries]
        for entry, form in zip(entries, forms, strict=True):
            if form != forms[0]:
                raise InputError(
                    f"dataset {entry.name}: (frames, image_size, packed) {form} must be those of {entries[0].name}, "
                    f"{forms[0]}"
                )
            if entry.path and isinstance(entry.source, VideoSource):
                raise InputError(f"dataset {entry.name}: holds videos, and only images are moved; leave path out")

    def interaction(self, step: int, settings: InteractionSettings | None = None) -> Interaction:
        """What the simulated user does in a step, on all hosts: a function of (seed, step) and the ratios alone.

        A batch of images that do not move gets clicks or boxes on its one frame; any other is prompted as a video.
        """
        frames = self.entries[0].sampling.frames
        return interaction(self.seed, step, frames, settings, shown=1 if self.still(step) else None)

    def still(self, step: int) -> bool:
        """Whether a batch is of images that do not move: its clips have one frame, the others are padding."""
        place = self.dataset(step)
        return (
            place != MIXED and not isinstance(self.entries[place].source, VideoSource) and not self.entries[place].path
        )

    def _wire(self, place: int, number: int, index: int, failures: list[Failure]) -> dict[str, np.ndarray]:
        entry = self.entries[place]
        rng = generator(self.seed, entry.name, number)
        start = rng.bit_generator.state

        def read(candidate: int) -> tuple[Clip, int]:
            rng.bit_generator.state = start  # A substitute is drawn as the clip would have been.
            return self._clip(entry, candidate, rng)

        clip, video_id = first_readable(entry.source, index, failures, read)
        clip = resized(clip, entry.augmentation.image_size)
        if entry.path:
            sampling = entry.sampling
            clip = along_path(clip, sampling.frames, entry.path, sampling.reverse, entry.augmentation.fill, rng)
        wire = clip_to_wire(
            augmented(clip, entry.augmentation, rng), entry.sampling.frames, self.max_targets, packed=entry.packed
        )
        return wire | {"video_id": np.int32(video_id), "task": np.int32(place)}

    def _clip(self, entry: ClipEntry, index: int, rng: np.random.Generator) -> tuple[Clip, int]:
        source = entry.source
        if isinstance(source, VideoSource):
            with boundary(source.annotations, f"video number {index} cannot be used"):
                return clip_of_video(source.open(index), entry.sampling, self.max_targets, rng), index
        example = source[index]
        return clip_of_image(example, self.max_targets, rng), example.image_id


def clip_to_wire(clip: Clip, frames: int, objects: int, *, packed: bool = False) -> dict[str, np.ndarray]:
    """Pads a clip of at most `frames` frames and `objects` objects, see `ClipMixture`; of one clip, without B."""
    shown, count = clip.masks.shape[:2]
    height, width = clip.images.shape[1:3]
    image, masks = clip.images, clip.masks
    if shown < frames:
        image = np.zeros((frames, height, width, 3), np.uint8)
        image[:shown] = clip.images
    if (shown, count) != (frames, objects):
        masks = np.zeros((frames, objects, height, width), np.uint8)
        masks[:shown, :count] = clip.masks
    valid = masks[0].any((1, 2))
    if not valid.all():
        masks = masks * valid[:, None, None]
    return {
        "image": image,
        "masks": np.packbits(masks, axis=-1, bitorder="little") if packed else masks,
        "visible": masks.any((2, 3)),
        "object_valid": valid,
        "frame_valid": np.arange(frames) < shown,
    }
