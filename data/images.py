"""Decoding of images, label PNGs and COCO panoptic PNGs."""

import io

import cv2
import numpy as np
from PIL import Image

from dataseg_jax.errors import InputError

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*")
_GRAY, _PALETTE = 0, 3  # Colour types of a PNG header that hold one value per pixel.


def read_rgb(path: str) -> np.ndarray:
    """Reads an image of any common kind (gray, palette, alpha, 16-bit) as uint8[H, W, 3] RGB.

    The orientation that a camera wrote into the file is applied, as viewers and annotation tools do.

    Raises:
      InputError: the file is missing, or cannot be decoded (truncated files included).
    """
    return decode_rgb(read_bytes(path), path)


def decode_rgb(content: bytes, path: str) -> np.ndarray:
    """As `read_rgb`, of a file's content; `path` is for messages."""
    return _decode(content, path, cv2.IMREAD_COLOR_RGB)


def read_panoptic_ids(path: str) -> np.ndarray:
    """Reads a COCO panoptic PNG as uint32[H, W] segment ids, R + 256 G + 65536 B.

    Raises:
      InputError: the file is missing, cannot be decoded, or is no 8-bit colour image.
    """
    return decode_panoptic_ids(read_bytes(path), path)


def decode_panoptic_ids(content: bytes, path: str) -> np.ndarray:
    """As `read_panoptic_ids`, of a file's content; `path` is for messages."""
    image = _decode(content, path, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise InputError(f"{path}: a panoptic PNG holds its ids in 8-bit RGB, this is {_spell(image)}")
    to_rgba = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    ids = cv2.cvtColor(image, to_rgba).view("<u4")[..., 0]
    ids &= np.uint32(0xFFFFFF)
    return ids


def read_labels(path: str) -> np.ndarray:
    """Reads a label PNG or TIFF as uint8[H, W] or uint16[H, W]: gray values, or the indices of a palette.

    Raises:
      InputError: the file is missing, cannot be decoded, or is not an 8- or 16-bit PNG or TIFF of one value per pixel.
    """
    return decode_labels(read_bytes(path), path)


def decode_labels(content: bytes, path: str) -> np.ndarray:
    """As `read_labels`, of a file's content; `path` is for messages."""
    if content[:4] in _TIFF:
        return _open_labels(content, path, "TIFF")
    # A palette would be turned into colours by OpenCV, and gray of under 8 bits be scaled by both libraries.
    if content[:8] != _PNG or len(content) < 26:
        raise InputError(f"{path}: labels must be a PNG file, and this is none")
    depth, kind = content[24], content[25]
    if kind != _PALETTE and (kind != _GRAY or depth < 8):
        raise InputError(
            f"{path}: labels must be 8- or 16-bit gray or a palette, one value per pixel; "
            f"this PNG has colour type {kind} of {depth} bits"
        )
    return _open_labels(content, path, "PNG")


def _open_labels(content: bytes, path: str, kind: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            if image.mode not in ("L", "P", "I;16", "I;16B"):
                raise InputError(f"{path}: labels must be 8- or 16-bit, one value per pixel; its mode is {image.mode}")
            values = np.asarray(image)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError) as error:  # What Pillow raises on damaged files.
        raise InputError(f"{path}: cannot be decoded as a {kind} ({error})") from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_bytes(path: str) -> bytes:
    """The content of a file. Raises InputError if it is missing or cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _decode(content: bytes, path: str, flags: int) -> np.ndarray:
    image = None
    if content:
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except cv2.error:  # Raised for absurd sizes in a damaged header; other damage gives None.
            image = None
    if image is None:
        raise InputError(f"{path}: cannot be decoded as an image ({len(content)} bytes; damaged, or of another kind)")
    return image


def _spell(image: np.ndarray) -> str:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return f"{image.dtype} with {channels} channel{'s' if channels > 1 else ''}"
