"""An annotated video in memory, as scoring takes it."""

import dataclasses

import numpy as np

from data.readers.video.videos import Video


@dataclasses.dataclass(frozen=True, eq=False)
class KnownVideo:
    """A video in memory, from its first annotated frame on.

    Attributes:
      frames: uint8[H, W, 3] each, n of them.
      truth: int32[T, H, W], 0 or the object (1, 2, ...) of each pixel of the annotated frames; where masks overlap, the
        one of the highest number.
      places: which of the frames these are.
    """

    frames: list[np.ndarray]
    truth: np.ndarray
    places: list[int]

    @classmethod
    def read(cls, video: Video) -> "KnownVideo | None":
        """None: less than three annotated frames, or no object on the first. Raises InputError."""
        start, numbers = video.annotated[0], sorted(video.masks(video.annotated[0]))
        if len(video.annotated) < 3 or not numbers:
            return None
        frames = list(video.images(range(start, video.annotated[-1] + 1)))
        truth = np.zeros((len(video.annotated), *frames[0].shape[:2]), np.int32)
        for painted, frame in zip(truth, video.annotated, strict=True):
            masks = video.masks(frame, numbers)
            for place, number in enumerate(numbers):
                if number in masks:
                    painted[masks[number] != 0] = place + 1
        return cls(frames, truth, [frame - start for frame in video.annotated])

    @property
    def first(self) -> dict[int, np.ndarray]:
        """The masks bool[H, W] of the first frame."""
        return {number: self.truth[0] == number for number in range(1, int(self.truth[0].max(initial=0)) + 1)}
