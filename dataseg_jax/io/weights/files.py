"""Files and bytes that may lie about their size: regular files alone, and no read beyond what is there."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dataseg_jax.errors import InputError


class Unreadable(ValueError):
    """A weight file is damaged or hostile; the message says why and does not name the file yet."""


def shown(text: object, length: int = 80) -> str:
    """Text from a file as it may stand in a message: in ASCII on one line, and not long."""
    text = ascii(str(text)[: length + 1])[1:-1]
    return text if len(text) <= length else text[: length - 3] + "..."


def open_regular(path: Path) -> BinaryIO:
    """A file opened for reading; a FIFO or a device neither blocks nor is read.

    Raises:
      InputError: it cannot be opened, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: it cannot be opened ({why}); give a weight file that you may read") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path}: no regular file; give a weight file, not a folder, a pipe or a device")
    return os.fdopen(descriptor, "rb")


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
        self._left = size_of(file) - file.tell()

    def read(self, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise Unreadable("it ends early")
        data = self._file.read(size)
        if len(data) != size:
            raise Unreadable("it ends early")
        return data

    def line(self) -> bytes:
        """Up to the next line break, without it."""
        data = self._file.readline(self._left)
        self._left -= len(data)
        if not data.endswith(b"\n"):
            raise Unreadable("it ends early")
        return data[:-1]
