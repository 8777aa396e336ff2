"""Frames of a video as the model's squares."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.inference.preprocess import as_rgb
from dataseg_jax.io.video_frames import IteratorFrames, open_frames

Square = tuple[np.ndarray, tuple[int, int]]  # uint8[side, side, 3], and height and width of the frame.


class Source:
    """A video, read frame by frame; nothing of it stays, but for the last frames of an iterator.

    Attributes:
      side: of the squares.
      count: frames of the video; None: not known.
      only_forward: the frames are an iterator's.
    """

    def __init__(self, frames, side: int, keep: int):
        """`keep`: how many frames of an iterator stay, as squares."""
        self.side = side
        opened = open_frames(frames, keep)
        self.only_forward = isinstance(opened, IteratorFrames)
        # Squares are what stays: a frame may be of any size.
        self._frames = IteratorFrames(self._squares(frames), keep) if self.only_forward else opened
        self.count = opened.count
        self.rate = getattr(opened, "rate", None)

    @property
    def newest(self) -> int | None:
        """The number of the frame that an iterator gave last; None: any frame can be read."""
        return self._frames.newest if self.only_forward else None

    def square(self, index: int) -> Square | None:
        """Frame `index`; None beyond the last.

        Raises:
          InputError: it cannot be read.
        """
        frame = self._frames.read(index)
        if self.only_forward or frame is None:
            if isinstance(frame, InputError):
                raise frame
            return frame
        return self._fitted(frame, index)

    def image(self, index: int) -> np.ndarray | None:
        """Frame `index`, uint8[H, W, 3]; None beyond the last. An iterator's frames do not stay: it is the square again
        in the frame's size.

        Raises:
          InputError: it cannot be read.
        """
        if not self.only_forward:
            frame = self._frames.read(index)
            return None if frame is None else as_rgb(frame, f"frame {index}")
        kept = self.square(index)
        if kept is None:
            return None
        square, (height, width) = kept
        return np.asarray(Image.fromarray(square).resize((width, height), Image.Resampling.BICUBIC))

    def _squares(self, frames) -> Iterator[Square | InputError]:
        """A frame that is no image becomes its error, so that the frames after it can still be read."""
        for index, frame in enumerate(frames):
            try:
                yield self._fitted(frame, index)
            except InputError as error:
                yield error

    def _fitted(self, frame, index: int) -> Square:
        image = as_rgb(frame, f"frame {index}")
        # Pillow's default filter, as the released code has for frames of a video.
        square = Image.fromarray(np.ascontiguousarray(image)).resize((self.side,) * 2, Image.Resampling.BICUBIC)
        return np.asarray(square), image.shape[:2]
