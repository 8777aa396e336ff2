"""Checks the bytes of an image file before its pixels are used: damage, and unusual kinds of images."""

import dataclasses
import os
import re
import warnings
from collections.abc import Iterator

from dataseg_jax.io.images import LIMITS, Limits, open_lazily

_ORIENTATION = 0x112  # The EXIF tag of how the camera was held: 1 is upright, 5..8 lie on their side.
_KINDS = {".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".png": ("PNG",), ".webp": ("WEBP",), ".bmp": ("BMP",)}
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_SMALL, _LARGE = 16, 64e6  # Pixels of the shorter side, and of the whole image.
_MODES = {
    "1": "is black and white; gray is read as colour",
    "L": "is grayscale; gray is read as colour",
    "LA": "is grayscale; gray is read as colour",
    "P": "has a palette; its colours are read",
    "PA": "has a palette; its colours are read",
    "CMYK": "is CMYK (print colours); read as RGB, tones may differ from what a viewer shows",
    "I;16": "has 16 bits; the upper 8 are read",
    "I;16B": "has 16 bits; the upper 8 are read",
    "I": "has more than 8 bits; it is read with 8",
    "F": "has more than 8 bits; it is read with 8",
}
# After these two bytes in the coded data of a JPEG comes a marker; 0xff 0x00 and restarts are part of the data.
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN, _END = 0xDA, 0xD9


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image file says of itself: format and mode as Pillow calls them, (height, width) as stored."""

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    transparent: bool
    deep: bool  # 16 bits a channel.


def read_header(content: bytes) -> Header | None:
    """Reads the header alone; None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of EXIF oddities, and of sizes, which `notes` reports.
            with open_lazily(content) as image:
                # Pillow decodes a whole PNG to look for EXIF behind its pixels.
                exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
                return Header(
                    image.format or "",
                    image.mode,
                    (image.height, image.width),
                    int(exif.get(_ORIENTATION, 1)),
                    image.mode in _ALPHA or "transparency" in image.info,
                    image.format == "PNG" and content[24] == 16,
                )
    except Exception:  # noqa: BLE001 - Damaged headers raise about anything, and decoding reports them.
        return None


def damage(content: bytes, header: Header | None, limits: Limits = LIMITS) -> str:
    """What is wrong with a file whether or not a decoder makes something of it; "" if nothing is.

    Decoders fill what a truncated file lacks with gray, depending on their version; here the file's own structure
    counts: a JPEG has an end marker, the parts of a PNG have sums, everything else must load in Pillow.
    """
    if not content:
        return "is empty (0 bytes)"
    start = content[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "holds a web page, not an image: a download that failed?"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not an image: run git lfs pull"
    if content.startswith(_JPEG):
        return "" if _jpeg_ends(content) else f"is truncated: a JPEG of {len(content)} bytes without its end marker"
    if header is None or header.size[0] * header.size[1] > limits.pixels:
        return ""  # Decoding gives the better message.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_lazily(content) as image:
                if header.format == "PNG":
                    image.verify()
                else:
                    image.load()
    except Exception as error:  # noqa: BLE001 - Pillow has no common class for what damaged files raise.
        return f"is damaged or truncated ({error})"
    return ""


def notes(path: str, header: Header | None) -> Iterator[str]:
    """What is accepted and worth knowing about an image file."""
    if header is None:
        return
    expected = _KINDS.get(os.path.splitext(path)[1].lower(), (header.format,))  # Other names promise nothing.
    if header.format not in expected:
        yield f"is a {header.format} file, though its name ends in {os.path.splitext(path)[1]}"
    if header.mode in _MODES:
        yield _MODES[header.mode]
    elif header.deep:
        yield _MODES["I;16"]
    if header.transparent:
        yield "has transparency, which is ignored"
    if header.orientation not in (0, 1):
        yield "is stored turned or mirrored (EXIF) and read upright; its annotations must be made for that"
    if min(header.size) < _SMALL:
        yield f"is smaller than {_SMALL} pixels on a side"
    if header.size[0] * header.size[1] > _LARGE:
        yield f"has more than {_LARGE / 1e6:g} million pixels, which takes long to decode in every epoch"


def _jpeg_ends(content: bytes) -> bool:
    """Whether the coded data of a JPEG is followed by its end marker (a thumbnail's own does not count)."""
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            place += 1  # Stray bytes between segments: decoders skip them.
            continue
        marker = content[place + 1]
        if marker == _END:
            return True
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # Filling, and markers without a length.
            place += 1 if marker == 0xFF else 2
            continue
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _START_OF_SCAN:
            found = _MARKER.search(content, place)
            if found is None:
                return False
            place = found.end() - 2
    return content[place : place + 2] == bytes((0xFF, _END))
