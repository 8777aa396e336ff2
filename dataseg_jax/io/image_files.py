"""Images as files."""

import os
from pathlib import Path

import cv2
import numpy as np

from dataseg_jax.io.whole_files import write_whole


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image as a whole file, in the format of its ending.

    Args:
      path: ends in .png or .jpg.
      image: uint8[H, W, 3], RGB; or values uint8 or uint16 [H, W], as PNG.

    Raises:
      OSError: it cannot be written, or is too large for the format.
    """
    path = Path(path)
    try:
        done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image)
    except cv2.error as error:
        done, encoded = False, error
    if not done:
        raise OSError(f"{path} was not written: an image of {image.shape[1]} x {image.shape[0]} is no {path.suffix}")
    write_whole(path, encoded.tobytes())
