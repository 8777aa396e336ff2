"""Decoding of images, label PNGs and COCO panoptic PNGs, of a size that is looked at before a pixel is decoded."""

import dataclasses
import io
import struct

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import MAX_BYTES, boundary, read_bytes, require_inside

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # The last two: with 64-bit offsets.
_GRAY, _PALETTE = 0, 3  # Colour types of a PNG header that hold one value per pixel.
_LONGEST = 2**20  # Pixels of a side, and
MOST_PIXELS = 2**30  # of an image that OpenCV decodes, unless its environment says otherwise.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # Markers of a JPEG that state its size.
_BARE = {0x00, 0x01, *range(0xD0, 0xD8)}  # Those that no length follows.
_ORIENTATION = 0x0112  # Tag of EXIF.
_MOST_TAGS = 4096  # Of a TIFF; usual are a dozen.
# Kinds that Pillow may open; among those left out is PostScript, which it hands to another program.
_KINDS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "AVIF", "PPM", "SUN")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file of an image or mask may have: bytes, and pixels in its header. Above, it is not decoded.

    A file of a few kilobytes can state an image that fills the memory. ours: 2^29 pixels are 1.6 GB as RGB; satellite
    tiles of 20,000 x 20,000 have fewer, photographs a thousandth.
    """

    bytes: int = MAX_BYTES
    pixels: int = 2**29


LIMITS = Limits()


def read_rgb(path: str, limits: Limits = LIMITS) -> np.ndarray:
    """Reads an image of any common kind (gray, palette, alpha, 16-bit) as uint8[H, W, 3] RGB.

    The orientation that a camera wrote into the file is applied, as viewers and annotation tools do.

    Raises:
      InputError: the file is missing or no regular file, is larger than the limits, or cannot be decoded (truncated
        files included).
    """
    return decode_rgb(read_bytes(path, limits.bytes), path, limits)


def decode_rgb(content: bytes, path: str, limits: Limits = LIMITS) -> np.ndarray:
    """As `read_rgb`, of a file's content; `path` is for messages."""
    return _decode(content, path, cv2.IMREAD_COLOR_RGB, limits)


def read_gray(path: str, limits: Limits = LIMITS) -> np.ndarray:
    """Reads an image of any common kind as uint8[H, W], colours as their brightness; as `read_rgb`."""
    return decode_gray(read_bytes(path, limits.bytes), path, limits)


def decode_gray(content: bytes, path: str, limits: Limits = LIMITS) -> np.ndarray:
    """As `read_gray`, of a file's content; `path` is for messages."""
    return _decode(content, path, cv2.IMREAD_GRAYSCALE, limits)


def read_panoptic_ids(path: str, limits: Limits = LIMITS) -> np.ndarray:
    """Reads a COCO panoptic PNG as uint32[H, W] segment ids, R + 256 G + 65536 B.

    Raises:
      InputError: as `read_rgb`, or it is no 8-bit colour image.
    """
    return decode_panoptic_ids(read_bytes(path, limits.bytes), path, limits)


def decode_panoptic_ids(content: bytes, path: str, limits: Limits = LIMITS) -> np.ndarray:
    """As `read_panoptic_ids`, of a file's content; `path` is for messages."""
    if content[:2] == b"\xff\xd8":
        raise InputError(f"{path}: a panoptic PNG holds exact ids, and this is a JPEG, which changes them")
    image = _decode(content, path, cv2.IMREAD_UNCHANGED, limits)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise InputError(f"{path}: a panoptic PNG holds its ids in 8-bit RGB, this is {_spell(image)}")
    to_rgba = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    ids = cv2.cvtColor(image, to_rgba).view("<u4")[..., 0]
    ids &= np.uint32(0xFFFFFF)
    return ids


def read_labels(path: str, limits: Limits = LIMITS) -> np.ndarray:
    """Reads a label PNG or TIFF as uint8[H, W] or uint16[H, W]: gray values, or the indices of a palette.

    Raises:
      InputError: as `read_rgb`, or it is not an 8- or 16-bit PNG or TIFF of one value per pixel.
    """
    return decode_labels(read_bytes(path, limits.bytes), path, limits)


def decode_labels(content: bytes, path: str, limits: Limits = LIMITS) -> np.ndarray:
    """As `read_labels`, of a file's content; `path` is for messages."""
    if content[:4] in _TIFF:
        return _open_labels(content, path, "TIFF", limits)
    # A palette would be turned into colours by OpenCV, and gray of under 8 bits be scaled by both libraries.
    if content[:8] != _PNG or len(content) < 26:
        raise InputError(f"{path}: labels must be a PNG file, and this is none")
    depth, kind = content[24], content[25]
    if kind != _PALETTE and (kind != _GRAY or depth < 8):
        raise InputError(
            f"{path}: labels must be 8- or 16-bit gray or a palette, one value per pixel; "
            f"this PNG has colour type {kind} of {depth} bits"
        )
    return _open_labels(content, path, "PNG", limits)


def _open_labels(content: bytes, path: str, kind: str, limits: Limits) -> np.ndarray:
    require_size(content, path, limits)
    # Not Image.open, which has a limit of its own, below the size of satellite tiles.
    opened = PngImagePlugin.PngImageFile if kind == "PNG" else TiffImagePlugin.TiffImageFile
    with boundary(path, f"cannot be decoded as a {kind}"), opened(io.BytesIO(content)) as image:
        if image.mode not in ("L", "P", "I;16", "I;16B"):
            raise InputError(f"{path}: labels must be 8- or 16-bit, one value per pixel; its mode is {image.mode}")
        values = np.asarray(image)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_inside(path: str, folder: str, limits: Limits) -> bytes:
    """The content of an image or mask file, which no symbolic link may lead out of `folder` ("": any).

    Raises:
      InputError: as `read_rgb`, or it lies elsewhere.
    """
    if folder:
        require_inside(path, folder)
    return read_bytes(path, limits.bytes)


def require_size(content: bytes, path: str, limits: Limits) -> tuple[int, int]:
    """The (height, width) in the header of an image file.

    Raises:
      InputError: it has more pixels than may be decoded, or no header that is known.
    """
    size = stored_size(content)
    if size is None:
        raise _undecodable(content, path)
    if content[:8] == _PNG and not _png_fits(content):
        raise InputError(
            f"{path}: cannot be decoded (a part of this PNG is said to be longer than the rest of the file)"
        )
    height, width = size
    if height * width > limits.pixels or max(size) > _LONGEST:
        raise InputError(
            f"{path}: is {width}x{height} (width x height); up to {limits.pixels} pixels are decoded "
            f"(input.max_pixels), and up to {_LONGEST} on a side"
        )
    return size


def decoded_size(path: str, limits: Limits = LIMITS) -> tuple[int, int]:
    """The (height, width) that `read_rgb` gives an image: of a JPEG after the orientation that a camera wrote.

    Raises:
      InputError: as `require_size`, or the file cannot be read.
    """
    content = read_bytes(path, limits.bytes)
    size = require_size(content, path, limits)
    if content[:2] != b"\xff\xd8":
        return size
    with boundary(path, "cannot be decoded"), open_lazily(content) as image:
        turned = image.getexif().get(_ORIENTATION, 1)
    return size[::-1] if turned in (5, 6, 7, 8) else size


def stored_size(content: bytes) -> tuple[int, int] | None:
    """The (height, width) that an image file states, before any orientation; None where its header cannot be read."""
    try:
        if content[:8] == _PNG:
            return struct.unpack_from(">II", content, 16)[::-1] if content[12:16] == b"IHDR" else None
        if content[:2] == b"\xff\xd8":
            return _size_of_jpeg(content)
        if content[:4] in _TIFF:
            return _size_of_tiff(content)
        if content[:2] == b"BM":
            old = struct.unpack_from("<I", content, 14)[0] == 12
            width, height = struct.unpack_from("<HH" if old else "<ii", content, 18)
            return abs(height), abs(width)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _size_of_webp(content)
        with open_lazily(content) as image:
            return image.height, image.width
    except Exception:  # noqa: BLE001 - Damaged headers raise about anything, and none can be decoded.
        return None


def open_lazily(content: bytes) -> Image.Image:
    """Pillow's image, whose pixels are not decoded yet; as `Image.open`, of the known kinds and of any size.

    Raises:
      Exception: of whatever kind damage leads to.
    """
    if not set(_KINDS) <= Image.OPEN.keys():
        Image.init()
    for kind in _KINDS:
        factory, accepts = Image.OPEN.get(kind, (None, None))
        if factory and accepts(content[:16]) is True:
            return factory(io.BytesIO(content), "")
    raise ValueError("of no kind that is known")


def _png_fits(content: bytes) -> bool:
    """Whether the chunks of a PNG lie within the file: OpenCV makes room for their stated lengths, up to 4 GB each."""
    place = len(_PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        place += 12 + length
        if kind == b"IEND":  # What comes behind it is not looked at.
            break
    return place <= len(content)


def _size_of_jpeg(content: bytes) -> tuple[int, int] | None:
    place = 2
    while True:
        if content[place] != 0xFF:  # Stray bytes, which decoders skip.
            place = content.index(b"\xff", place)
        marker = content[place + 1]
        if marker in _FRAMES:
            return struct.unpack_from(">HH", content, place + 5)
        if marker == 0xFF or marker in _BARE:
            place += 1 if marker == 0xFF else 2
        elif marker in (0xD8, 0xD9, 0xDA):  # Pixels without a size, or an end without pixels.
            return None
        else:
            place += 2 + max(2, struct.unpack_from(">H", content, place + 2)[0])


def _size_of_tiff(content: bytes) -> tuple[int, int] | None:
    order = "<" if content[:2] == b"II" else ">"
    large = 43 in content[2:4]
    start = struct.unpack_from(f"{order}Q" if large else f"{order}I", content, 8 if large else 4)[0]
    count = struct.unpack_from(f"{order}Q" if large else f"{order}H", content, start)[0]
    sides = {256: 0, 257: 0}  # Width and height. Of tags that occur twice libraries take the first or the last.
    for number in range(count if count <= _MOST_TAGS else 0):
        place = start + (8 + 20 * number if large else 2 + 12 * number)
        tag, kind = struct.unpack_from(f"{order}HH", content, place)
        if tag in sides:
            form = {3: "H", 4: "I", 16: "Q"}[kind]
            value = struct.unpack_from(f"{order}{form}", content, place + (12 if large else 8))[0]
            sides[tag] = max(sides[tag], value)
    return (sides[257], sides[256]) if all(sides.values()) else None


def _size_of_webp(content: bytes) -> tuple[int, int] | None:
    kind, value = content[12:16], int.from_bytes(content[20:30], "little")
    if kind == b"VP8X":
        return 1 + (value >> 56 & 0xFFFFFF), 1 + (value >> 32 & 0xFFFFFF)
    if kind == b"VP8L":
        return 1 + (value >> 22 & 0x3FFF), 1 + (value >> 8 & 0x3FFF)
    return (value >> 64 & 0x3FFF, value >> 48 & 0x3FFF) if kind == b"VP8 " else None


def _decode(content: bytes, path: str, flags: int, limits: Limits) -> np.ndarray:
    require_size(content, path, limits)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # Some damage raises, other gives None.
        image = None
    if image is None:
        raise _undecodable(content, path)
    return image


def _undecodable(content: bytes, path: str) -> InputError:
    return InputError(f"{path}: cannot be decoded as an image ({len(content)} bytes; damaged, or of another kind)")


def _spell(image: np.ndarray) -> str:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return f"{image.dtype} with {channels} channel{'s' if channels > 1 else ''}"
