"""Frames of a video file, by OpenCV: only MP4, for other containers can name files and addresses to be read."""

import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits
from dataseg_jax.io.untrusted import boundary, open_regular, require_inside

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # What is wrong is said in our own line.
_SETTINGS = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 20_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 20_000)


def frames_of(path: str, frames: Sequence[int], folder: str, limits: Limits) -> Iterator[np.ndarray]:
    """Reads frames one after the other, uint8[H, W, 3] RGB.

    All frames up to the last are decoded: where a file says that it can be entered need not be exact.

    Args:
      path: of an MP4 file.
      frames: numbers from 0, rising.
      folder: which no symbolic link may lead out of.
      limits: what the file may have.

    Raises:
      InputError: it is no MP4, cannot be decoded, has larger frames than the limits allow, or ends too soon.
    """
    video = _opened(path, folder, limits)
    try:
        place = 0
        for frame in frames:
            while place <= frame:
                with boundary(path, "cannot be decoded"):
                    if not video.grab():
                        raise InputError(f"{path}: ends after {place} frames, and its annotations need frame {frame}")
                place += 1
            with boundary(path, "cannot be decoded"):
                found, image = video.retrieve()
            if not found or image is None or image.ndim != 3 or image.dtype != np.uint8:
                raise InputError(f"{path}: frame {frame} cannot be decoded")
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        video.release()


def _opened(path: str, folder: str, limits: Limits) -> cv2.VideoCapture:
    require_inside(path, folder)
    with open_regular(path, limits.bytes) as file, boundary(path):
        start = file.read(12)
    if start[4:8] != b"ftyp":
        raise InputError(f"{path}: is no MP4 file; it must begin with a box 'ftyp'")
    with boundary(path, "cannot be decoded"):
        video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, _SETTINGS)
    if not video.isOpened():
        raise InputError(f"{path}: cannot be decoded as a video (damaged, or of another kind)")
    width, height = (int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if not 0 < width * height <= limits.pixels:
        video.release()
        raise InputError(f"{path}: is {width}x{height} (width x height); up to {limits.pixels} pixels are decoded")
    return video
