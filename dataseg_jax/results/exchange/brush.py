"""Masks as the brush of Label Studio stores them: an RGBA image as run lengths of bits (thi.ng's rle-pack).

32 bits: number of values, 4 per pixel, row by row. 5 bits: bits per value, minus 1. 4 x 4 bits: widths of four kinds of
counts, minus 1. Then blocks: 1 bit, whether one value is repeated; 2 bits, the kind of the count; the count, minus 1;
the value, or as many values as the count says. Pixels whose alpha is above 0 are painted.
"""

from typing import Any

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import spell

_COUNTS = np.array([3, 4, 8, 16])  # Widths of counts in bits, those of Label Studio's own encoder.
_VALUE = 8  # Bits of a value.
_LONGEST = 2**16
_WIDEST = 1 + 2 + 16 + _VALUE  # Bits of a block.


def encode(mask: np.ndarray) -> list[int]:
    """A mask bool[H, W] as `rle`, a list of bytes: 255 in all channels of its pixels, 0 elsewhere."""
    flat = np.asarray(mask, bool).ravel()
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    lengths, values = 4 * np.diff(np.append(starts, flat.size)), np.where(flat[starts], 255, 0)
    pieces = -(-lengths // _LONGEST)
    values, counts = np.repeat(values, pieces), np.full(pieces.sum(), _LONGEST)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    kinds = np.searchsorted(2**_COUNTS, counts)
    widths = 3 + _COUNTS[kinds] + _VALUE
    codes = (((4 + kinds) << _COUNTS[kinds] | counts - 1) << _VALUE | values) << _WIDEST - widths
    bits = codes[:, None] >> np.arange(_WIDEST)[::-1] & 1
    body = bits[np.arange(_WIDEST) < widths[:, None]]
    header = f"{4 * flat.size:032b}{_VALUE - 1:05b}" + "".join(f"{width - 1:04b}" for width in _COUNTS)
    return np.packbits(np.concatenate([np.array(list(header), np.uint8), body.astype(np.uint8)])).tolist()


def decode(rle: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """The mask bool[H, W] of such a list, of a file of a stranger.

    Args:
      rle: the list.
      size: height and width of the image.
      where: begins messages.

    Raises:
      InputError: it is no list of bytes, is of another image, or is damaged.
    """
    if not isinstance(rle, list) or not all(type(byte) is int and 0 <= byte < 256 for byte in rle):
        raise InputError(f"{where}: its rle is {spell(rle)}; it must be a list of numbers from 0 to 255")
    reader = _Bits(bytes(rle), where)
    count, width = reader.read(32), reader.read(5) + 1
    kinds = [reader.read(4) + 1 for _ in range(4)]
    if count != 4 * size[0] * size[1] or width != _VALUE:
        raise InputError(
            f"{where}: its rle has {count} values of {width} bits; an image of {size[1]}x{size[0]} has "
            f"{4 * size[0] * size[1]} of {_VALUE}"
        )
    values, place = np.empty(count, np.uint8), 0
    while place < count:
        repeated = reader.read(1)
        end = place + reader.read(kinds[reader.read(2)]) + 1
        if end > count:
            raise InputError(f"{where}: its rle has more values than the {count} that it states")
        values[place:end] = reader.read(_VALUE) if repeated else reader.read_values(end - place)
        place = end
    return values[3::4].reshape(size) > 0


class _Bits:
    """Reads numbers of any width; the first bit is the highest."""

    def __init__(self, content: bytes, where: str):
        self._content, self._where, self._at = content, where, 0

    def read(self, width: int) -> int:
        """A number of up to 32 bits."""
        first, self._at = self._at, self._at + width
        self._require()
        piece = int.from_bytes(self._content[first >> 3 : (first >> 3) + 5].ljust(5, b"\0"))
        return piece >> 40 - (first & 7) - width & (1 << width) - 1

    def read_values(self, count: int) -> np.ndarray:
        """uint8[count]."""
        first, self._at = self._at, self._at + 8 * count
        self._require()
        piece = np.frombuffer(self._content[first >> 3 : (first >> 3) + count + 1].ljust(count + 1, b"\0"), np.uint8)
        shift = first & 7
        return (piece[:-1] << shift) | (piece[1:].astype(np.uint16) >> 8 - shift).astype(np.uint8)

    def _require(self) -> None:
        if self._at > 8 * len(self._content):
            raise InputError(f"{self._where}: its rle is cut off")
