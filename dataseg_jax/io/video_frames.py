"""Frames of a video by number: a folder of images, a video file, a sequence of arrays or any iterator of them."""

import io
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, open_regular, read_bytes

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# ours: a frame of more pixels is refused before it is decoded; 8K video has 2^25.
MOST_PIXELS = 2**28
BACK = 16  # ours: frames that a step back in a video file decodes.


class FolderFrames:
    """The images of a folder, in the order of the numbers in their names."""

    def __init__(self, folder: str | os.PathLike):
        folder = os.fspath(folder)
        with boundary(folder):
            names = [name for name in os.listdir(folder) if name.lower().endswith(IMAGES)]
        self.paths = [os.path.join(folder, name) for name in sorted(names, key=_by_numbers)]
        if not self.paths:
            raise InputError(f"{folder}: has no frames; they must be images such as 00000.jpg ({', '.join(IMAGES)})")

    @property
    def count(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> np.ndarray | None:
        """Frame uint8[H, W, 3]; None beyond the last one.

        Raises:
          InputError: it cannot be read.
        """
        if index >= self.count:
            return None
        path = self.paths[index]
        content = read_bytes(path)
        with boundary(path, "cannot be read as an image"):
            image = Image.open(io.BytesIO(content))
            if image.width * image.height > MOST_PIXELS:
                raise InputError(f"{path}: has {image.width} x {image.height} pixels, and may have {MOST_PIXELS}")
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _by_numbers(name: str) -> list:
    """Names in the order of the numbers in them: 9.jpg before 10.jpg."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)] + [(-1, name)]


class FileFrames:
    """The frames of a video file, through OpenCV. Reading in reverse decodes `BACK` frames at a time."""

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        open_regular(self.path).close()  # OpenCV would take an address, or a pattern of names, for a video.
        self._open()
        self.count = max(int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
        self.rate = float(self._video.get(cv2.CAP_PROP_FPS)) or None
        self._kept: dict[int, np.ndarray] = {}

    def _open(self) -> None:
        with boundary(self.path, "cannot be read as a video"):
            self._video = cv2.VideoCapture(os.path.abspath(self.path), cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            raise InputError(f"{self.path}: cannot be read as a video; give a video file or a folder of images")
        self._next = 0

    def read(self, index: int) -> np.ndarray | None:
        """Frame uint8[H, W, 3]; None beyond the last one.

        Raises:
          InputError: it cannot be decoded.
        """
        if index in self._kept:
            return self._kept[index]
        self._kept.clear()
        if index >= self._next:
            return self._decoded(index)
        first = max(index - BACK + 1, 0)
        self._go_to(first)
        for i in range(first, index):
            try:
                self._kept[i] = self._decoded(i)
            except InputError:
                continue  # It is reported when it is asked for.
        return self._decoded(index)

    def _go_to(self, index: int) -> None:
        """Makes `index` the next frame, or an earlier one where the file cannot be entered there."""
        self._video.set(cv2.CAP_PROP_POS_FRAMES, index)
        self._next = index
        if int(self._video.get(cv2.CAP_PROP_POS_FRAMES)) != index:
            self._open()

    def _decoded(self, index: int) -> np.ndarray | None:
        while self._next <= index:
            if not self._video.grab():
                return None
            self._next += 1
        done, image = self._video.retrieve()
        if not done or image is None or image.ndim != 3:
            raise InputError(f"{self.path}: frame {index} cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class SequenceFrames:
    """Frames that the caller holds: a list, or an array uint8[T, H, W, 3]."""

    def __init__(self, frames: Sequence[np.ndarray]):
        self._frames, self.count = frames, len(frames)
        if not self.count:
            raise InputError("frames are empty; a video has at least one")

    def read(self, index: int) -> np.ndarray | None:
        """The frame as it was given; None beyond the last one."""
        return self._frames[index] if index < self.count else None


class GoneError(InputError):
    """A frame of an iterator that is no longer kept."""


class IteratorFrames:
    """Frames that come one after the other. The last `keep` stay, as they were given."""

    count = None

    def __init__(self, frames: Iterable[np.ndarray], keep: int):
        self._frames: Iterator = iter(frames)
        self._kept: deque = deque(maxlen=keep)  # (number, frame)
        self._next, self._ended = 0, False

    def read(self, index: int) -> np.ndarray | None:
        """The frame as it was given; None beyond the last one.

        Raises:
          InputError: it is gone.
        """
        while self._next <= index and not self._ended:
            try:
                self._kept.append((self._next, next(self._frames)))
                self._next += 1
            except StopIteration:
                self._ended = True
        if index >= self._next:
            return None
        first = self._kept[0][0]
        if index < first:
            raise GoneError(
                f"frame {index} is gone: of frames from an iterator the last {len(self._kept)} are kept, now from "
                f"{first} on; start with a folder, a video file or a larger keep"
            )
        return self._kept[index - first][1]

    @property
    def newest(self) -> int:
        """The number of the frame that was read last, -1 before the first."""
        return self._next - 1


def open_frames(frames, keep: int = 32) -> FolderFrames | FileFrames | SequenceFrames | IteratorFrames:
    """The frames of a folder of images, of a video file, of a sequence or of an iterator.

    Raises:
      InputError: it is none of these, or there are no frames.
    """
    if isinstance(frames, str | os.PathLike):
        return FolderFrames(frames) if os.path.isdir(frames) else FileFrames(frames)
    if isinstance(frames, Sequence | np.ndarray) and not isinstance(frames, bytes):
        return SequenceFrames(frames)
    if not isinstance(frames, Iterable):
        raise InputError(f"frames are {type(frames).__name__}; they must be a folder, a video file, or a sequence or "
                         "an iterator of uint8[H, W, 3]")  # fmt: skip
    return IteratorFrames(frames, keep)
