"""Images of any kind and size as RGB, fitted into the model's square."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageOps

from dataseg_jax.errors import InputError


def as_rgb(image: np.ndarray | Image.Image, name: str = "the image") -> np.ndarray:
    """An image as uint8[H, W, 3] RGB.

    Args:
      image: uint8 [H, W, 3] RGB, [H, W] or [H, W, 1] gray, or [H, W, 4] RGB with alpha, which is dropped; or a Pillow
        image of 8 bits a channel, whose camera orientation is applied.
      name: for messages.

    Raises:
      InputError: anything else.
    """
    if isinstance(image, Image.Image):
        if image.mode.startswith(("I", "F")):
            raise InputError(
                f"{name} is a Pillow image of mode {image.mode}; it must have 8 bits a channel, such as RGB"
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        advice = "; scale it to 0 .. 255 first" if what.startswith("float") else ""
        raise InputError(f"{name} is {what}; it must be a Pillow image or a numpy array of uint8{advice}")
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        raise InputError(f"{name} is {what}; it must be [H, W, 3] RGB, [H, W] gray or [H, W, 4] with alpha")
    if image.ndim == 2 or image.shape[-1] == 1:
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, -1)
    return image[..., :3]


def fit(image: np.ndarray, side: int, fill: Sequence[int] = (0, 0, 0)) -> tuple[np.ndarray, tuple[int, int]]:
    """Scales an image uint8[H, W, 3] so that its longer side is `side`, and pads it to a square with the colour `fill`
    below and to the right; also returns its (height, width) inside the square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    if size != (height, width):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, size[::-1], interpolation=how)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = fill
    square[: size[0], : size[1]] = image
    return square, size
