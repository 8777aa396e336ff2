"""Zip files of arrays: each name once, no entry over another, and no more memory than a stated bound."""

import os
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import BinaryIO

import numpy as np

from dataseg_jax.io.weights.files import Unreadable, read_at, shown, size_of

# ours: what compressed entries may take unpacked, in bytes and beyond that in times the file's size.
MAX_UNPACKED = 2**30
MAX_RATIO = 20
_MOST_DEFLATED = 1032  # Times: more is impossible.
_PIECE = 2**16  # Bytes that are unpacked at once.
_HEADER = struct.Struct("<4s5H3I2H")  # Of an entry, before its name.


class Archive:
    """The entries of a zip file that is open.

    Raises:
      Unreadable: it is damaged, has a name twice, or entries that overlap.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except Exception as error:  # noqa: BLE001  Damage raises half a dozen kinds of errors in zipfile.
            raise Unreadable(f"it is no complete zip file: {shown(error)}") from None
        self._left = MAX_UNPACKED + MAX_RATIO * size_of(file)
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            if entry.orig_filename in self._entries:
                raise Unreadable(f"it has {shown(entry.orig_filename)} twice")
            self._entries[entry.orig_filename] = entry
        end = self._zip.start_dir
        for entry in sorted(self._entries.values(), key=lambda entry: entry.header_offset, reverse=True):
            name = len(entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437"))
            if entry.header_offset < 0 or entry.header_offset + _HEADER.size + name + entry.compress_size > end:
                raise Unreadable(f"its entry {shown(entry.orig_filename)} overlaps with another")
            end = entry.header_offset

    @property
    def names(self) -> Collection[str]:
        return self._entries.keys()

    def size(self, name: str) -> int:
        """Bytes of an entry once it is unpacked, as the file says.

        Raises:
          Unreadable: there is no such entry.
        """
        if name not in self._entries:
            raise Unreadable(f"it has no entry {shown(name)}")
        return self._entries[name].file_size

    def read(self, name: str) -> np.ndarray:
        """uint8[N], the bytes of an entry.

        Raises:
          Unreadable: it is damaged, or larger than what is allowed.
        """
        size, entry = self.size(name), self._entries[name]
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable(f"its entry {shown(name)} is encrypted or packed in a way that is not known here")
        start = self._start(entry)
        packed = read_at(self._file, start, entry.compress_size)
        if entry.compress_type == zipfile.ZIP_STORED:
            data = packed
        else:
            self._left -= size
            if size > _MOST_DEFLATED * entry.compress_size or self._left < 0:
                raise Unreadable(f"its entry {shown(name)} would take {size} bytes, more than is allowed")
            data = _inflated(packed, size, name)
        if data.size != size:
            raise Unreadable(f"its entry {shown(name)} has another size than the file says")
        if zlib.crc32(data) != entry.CRC:
            raise Unreadable(f"its entry {shown(name)} is damaged: the checksum differs")
        return data

    def _start(self, entry: zipfile.ZipInfo) -> int:
        """Where the bytes of an entry start, behind a header that has to have the same name as the directory's."""
        header = _HEADER.unpack(read_at(self._file, entry.header_offset, _HEADER.size).tobytes())
        signature, name_size, extra_size = header[0], header[-2], header[-1]
        start = entry.header_offset + _HEADER.size
        name = read_at(self._file, start, name_size).tobytes()
        encoding = "utf-8" if header[2] & 0x800 else "cp437"
        if signature != zipfile.stringFileHeader or name != entry.orig_filename.encode(encoding):
            raise Unreadable(f"its entry {shown(entry.orig_filename)} is damaged: its header differs")
        start += name_size + extra_size
        if start + entry.compress_size > self._zip.start_dir:
            raise Unreadable(f"its entry {shown(entry.orig_filename)} reaches outside of the file")
        return start


def _inflated(packed: np.ndarray, size: int, name: str) -> np.ndarray:
    """uint8[size], unpacked piece by piece into memory that is taken once."""
    data, done, unpacker = np.empty(size, np.uint8), 0, zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, packed.size, _PIECE):
            piece = np.frombuffer(unpacker.decompress(packed[start : start + _PIECE]), np.uint8)
            if done + piece.size > size:
                break
            data[done : done + piece.size] = piece
            done += piece.size
    except zlib.error as error:
        raise Unreadable(f"its entry {shown(name)} is damaged: {shown(error)}") from None
    if not unpacker.eof or done != size:
        raise Unreadable(f"its entry {shown(name)} has another size than the file says")
    return data


def is_archive(file: BinaryIO) -> bool:
    """Whether a file starts as a zip file with entries does; its position is then its start."""
    file.seek(0, os.SEEK_SET)
    start = file.read(4)
    file.seek(0, os.SEEK_SET)
    return start == zipfile.stringFileHeader
