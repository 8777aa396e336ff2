"""Images as the page shows them, and the files that are uploaded to it."""

import dataclasses
import os
from collections.abc import Sequence

import cv2
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits, decoded_size, read_rgb
from dataseg_jax.results.visualise import enlarge

# ours: what a laptop answers in seconds; photographs of today's cameras have up to 50 million pixels.
MOST_BYTES, MOST_PIXELS = 2**26, 2**26
_WORKED = (
    2048  # ours: of the longer side that is worked on; no model here sees more, and masks of it are drawn quickly.
)
_SHORTEST, _LONGEST = 400, 1280  # Pixels of the longer side that the page is sent; it enlarges nothing.
_ON, _OFF, _BOX, _RIM = (34, 160, 90), (214, 60, 60), (30, 120, 220), (255, 255, 255)


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image uint8[H, W, 3], what it is called, and a note for the visitor, such as that it was shrunk."""

    name: str
    image: np.ndarray
    note: str = ""

    def place(self, at: Sequence[float]) -> tuple[float, float]:
        """x and y in pixels of the image, of a place x, y on the page's version of it."""
        return place(self.image, at)


def open_picture(path: str) -> Picture:
    """Reads an uploaded image.

    Raises:
      InputError: it is none, or is too large; names the file without its folder.
    """
    limits, name = Limits(bytes=MOST_BYTES), os.path.basename(path)
    try:
        height, width = decoded_size(path, limits)
        if height * width > MOST_PIXELS:
            raise InputError(
                f"{name}: has {width} x {height} pixels; this page takes up to {MOST_PIXELS >> 20} million"
            )
        image = read_rgb(path, limits)
    except InputError as error:
        raise named(error, path) from None
    small = _shrunk(image, _WORKED)
    height, width = small.shape[:2]
    return Picture(name, small, "" if small is image else f"{name} is answered at {width} x {height} pixels.")


def named(error: InputError, path: str) -> InputError:
    """The error without the folder that the upload was put into."""
    return InputError(str(error).replace(path, os.path.basename(path)))


def displayed(image: np.ndarray) -> np.ndarray:
    """The page's version of an image: small ones enlarged, large ones shrunk; uint8[H', W', 3]."""
    large = enlarge(image)  # As overlays are, so that both have one size.
    factor = max(1, -(-_SHORTEST // max(large.shape[:2])))
    large = large.repeat(factor, 0).repeat(factor, 1) if factor > 1 else large
    return _shrunk(large, _LONGEST)


def _shrunk(image: np.ndarray, longest: int) -> np.ndarray:
    """The image itself, where no side is longer."""
    share = longest / max(image.shape[:2])
    if share >= 1:
        return image
    return cv2.resize(image, [max(1, round(side * share)) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA)


def place(image: np.ndarray, at: Sequence[float]) -> tuple[float, float]:
    """x and y in pixels of an image, of a pixel x, y of `displayed(image)`; its centre."""
    height, width = displayed_size(image)
    x, y = (float(at[0]) + 0.5) * image.shape[1] / width, (float(at[1]) + 0.5) * image.shape[0] / height
    return min(max(x, 0.0), image.shape[1] - 1e-3), min(max(y, 0.0), image.shape[0] - 1e-3)


def displayed_size(image: np.ndarray) -> tuple[int, int]:
    """Height and width of `displayed(image)`."""
    return displayed(np.broadcast_to(np.uint8(0), image.shape[:2])).shape[:2]


def marked(
    shown: np.ndarray, image: np.ndarray, points: Sequence, labels: Sequence[int], boxes: Sequence = ()
) -> np.ndarray:
    """A displayed image with prompts drawn on it: green points on an object, red ones off it, blue boxes.

    Args:
      shown: `displayed` of the image or of an overlay of its size.
      image: gives the pixels that prompts are in.
      points: float[n, 2], x and y. labels: 1 on the object, 0 off it. boxes: float[m, 4], x0 y0 x1 y1.
    """
    drawn = np.ascontiguousarray(shown).copy()
    scale = np.array([shown.shape[1] / image.shape[1], shown.shape[0] / image.shape[0]])
    width = max(2, max(shown.shape[:2]) // 240)
    for box in boxes:
        corners = [tuple(map(int, np.array(corner) * scale)) for corner in (box[:2], box[2:])]
        cv2.rectangle(drawn, *corners, _RIM, width + 2, cv2.LINE_AA)
        cv2.rectangle(drawn, *corners, _BOX, width, cv2.LINE_AA)
    for point, label in zip(points, labels, strict=True):
        centre = tuple(map(int, np.array(point) * scale))
        cv2.circle(drawn, centre, 2 * width + 2, _RIM, -1, cv2.LINE_AA)
        cv2.circle(drawn, centre, 2 * width, _ON if label else _OFF, -1, cv2.LINE_AA)
    return drawn
