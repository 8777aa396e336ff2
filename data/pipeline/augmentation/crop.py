"""Flip, scale, crop and pad as one affine map: which part of an image becomes the input, and where its pixels go.

The part is cut out before anything is resized, so the work is that of the pixels which end up in the input.
"""

import dataclasses

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Crop:
    """A rectangle of whole pixels of an image, resized to the upper left part of an input, perhaps mirrored.

    Attributes:
      top, left, height, width: the rectangle, in pixels of the image.
      size: (height, width) of what it becomes, in pixels of the input.
      flip: whether left and right are exchanged.
    """

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]
    flip: bool = False

    @property
    def shrinks(self) -> bool:
        """Whether the input has fewer pixels than the crop."""
        return self.size[0] * self.size[1] < self.height * self.width

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The crop of an array [H, W, ...], not resized and not mirrored; a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def resized(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """Pixels of the crop [height, width, ...] at `size`, mirrored if `flip`."""
        if self.size != (self.height, self.width):
            pixels = cv2.resize(pixels, self.size[::-1], interpolation=interpolation)
        return cv2.flip(pixels, 1) if self.flip else pixels

    def sources(self) -> tuple[np.ndarray, np.ndarray]:
        """The row and the column of the crop that each row and column of `size` shows, before the flip.

        These are the pixels that `resized` takes without interpolation.
        """
        rows, columns = (
            cv2.resize(np.arange(length, dtype=np.int32)[None], (side, 1), interpolation=cv2.INTER_NEAREST_EXACT)[0]
            for length, side in ((self.height, self.size[0]), (self.width, self.size[1]))
        )
        return rows, columns

    def points(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points of the image (pixel edges are whole numbers) lie in the input; float64, not clipped."""
        x = (np.asarray(x, np.float64) - self.left) * (self.size[1] / self.width)
        y = (np.asarray(y, np.float64) - self.top) * (self.size[0] / self.height)
        return (self.size[1] - x if self.flip else x), y


def choose_crop(
    height: int,
    width: int,
    input_size: tuple[int, int],
    *,
    factor: float,
    down: float,
    across: float,
    flip: bool,
    stretch: bool = False,
) -> Crop:
    """The crop of an image under detectron2's large-scale jitter.

    The image is fitted into the input times `factor`; what is then larger than the input is cropped. The crop and
    its size in the input are whole pixels, so each axis is scaled to within half a pixel of `factor`.

    Args:
      height, width: of the image.
      input_size: (height, width) of the input.
      factor: of the jitter; 1 = as large as fits.
      down, across: in [0, 1], where the crop lies.
      flip: mirror left and right.
      stretch: each axis is fitted on its own, so that the image fills the input at factor 1.
    """
    ratios = input_size[0] * factor / height, input_size[1] * factor / width
    if not stretch:
        ratios = (min(ratios),) * 2

    def along(length: int, room: int, place: float, ratio: float) -> tuple[int, int, int]:
        scaled = max(1, round(length * ratio))
        if scaled <= room:
            return 0, length, scaled
        shown = min(length, max(1, round(room / ratio)))
        return round(place * (length - shown)), shown, room

    top, rows, new_height = along(height, input_size[0], down, ratios[0])
    left, columns, new_width = along(width, input_size[1], across, ratios[1])
    return Crop(top, left, rows, columns, (new_height, new_width), flip)
