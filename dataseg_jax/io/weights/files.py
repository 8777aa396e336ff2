"""Files and bytes that may lie about their size: regular files alone, and no read beyond what is there."""

import os
from typing import BinaryIO

import numpy as np

_PIECE = 2**16  # Bytes that are read ahead.


class Unreadable(ValueError):
    """A weight file is damaged or hostile; the message says why and does not name the file yet."""


def shown(text: object, length: int = 80) -> str:
    """Text from a file as it may stand in a message: in ASCII on one line, and not long."""
    text = text[: length + 1].decode("latin1") if isinstance(text, bytes) else str(text)[: length + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= length else text[: length - 3] + "..."


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file; its position stays."""
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


def read_at(file: BinaryIO, start: int, size: int) -> np.ndarray:
    """uint8[size] of a file; the memory is taken only once the bytes are known to be there."""
    if start < 0 or size < 0 or start + size > size_of(file):
        raise Unreadable("it ends before its arrays do")
    file.seek(start)
    array = np.empty(size, np.uint8)
    view, done = memoryview(array), 0
    while done < size:
        read = file.readinto(view[done:])
        if not read:
            raise Unreadable("it ends before its arrays do")
        done += read
    return array


class Stream:
    """Bytes of a file from its position on; asking for more than there are is an error, not an allocation."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._left = size_of(file) - file.tell()  # Of the file, behind the piece that is in memory.
        self._piece, self._at = b"", 0

    def tell(self) -> int:
        """The position in the file of the next byte."""
        return self._file.tell() - (len(self._piece) - self._at)

    def byte(self) -> int:
        if self._at == len(self._piece):
            self._piece, self._at = self._more(min(self._left, _PIECE) or 1), 0
        self._at += 1
        return self._piece[self._at - 1]

    def read(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if end <= len(self._piece):
            self._at = end
            return self._piece[start:end]
        data = self._piece[start:] + self._more(end - len(self._piece))
        self._piece, self._at = b"", 0
        return data

    def line(self) -> bytes:
        """Up to the next line break, without it."""
        end = self._piece.find(b"\n", self._at)
        if end >= 0:
            start, self._at = self._at, end + 1
            return self._piece[start:end]
        more = self._file.readline(self._left)
        self._left -= len(more)
        data = self._piece[self._at :] + more
        self._piece, self._at = b"", 0
        if not data.endswith(b"\n"):
            raise Unreadable("it ends early")
        return data[:-1]

    def _more(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self._left else b""
        if len(data) != size:
            raise Unreadable("it ends early")
        self._left -= size
        return data
