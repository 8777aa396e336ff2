"""Millions of phrases and their embeddings without an object each, and once for all processes that read.

An array lies in a file without a name, which every process maps: workers are handed the place of the file, not a copy.
Pages that nobody reads need no memory, and the file is gone when the last process ends, however that ends.
"""

import heapq
import math
import operator
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data.readers.table import Texts

LARGE = 1 << 20  # ours: bytes from which on an array is shared.
AT_ONCE = 1 << 17  # ours: texts that are sorted as objects, before they join the others.
_DESCRIPTORS = "/proc/self/fd"  # Where Linux shows a process's files; elsewhere workers get copies.


class Shared:
    """An array that all processes share. Pickled, it is the place of a file of the process that made it, which must
    still have it when it is unpickled.

    Small arrays, and all where there is no room for the file or the system shows no process's files, are copied.

    Args:
      array: any; it is copied.

    Attributes:
      array: the same values; read only, where they are shared.
    """

    def __init__(self, array: np.ndarray):
        self._place, self.array = None, array
        if array.nbytes < LARGE or not os.path.isdir(_DESCRIPTORS):
            return
        try:
            with tempfile.TemporaryFile() as file:  # Without a name.
                np.ascontiguousarray(array).tofile(file)
                mark = os.urandom(16)  # Descriptors and inodes are used again: the file is known by its end.
                file.write(mark)
                file.flush()
                self.array = _mapped(file, array.dtype, array.shape)
                descriptor = os.dup(file.fileno())
        except OSError:
            return
        self._place = f"/proc/{os.getpid()}/fd/{descriptor}", mark
        weakref.finalize(self, os.close, descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._place is None:
            return Shared, (self.array,)
        return _opened, (*self._place, self.array.dtype, self.array.shape)


def _mapped(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(file, dtype, "r", shape=shape).view(np.ndarray)


def _opened(place: str, mark: bytes, dtype: np.dtype, shape: tuple[int, ...]) -> Shared:
    """Raises RuntimeError if the file is gone, or its descriptor is that of another by now."""
    shared = Shared.__new__(Shared)
    try:
        with open(place, "rb") as file:
            file.seek(math.prod(shape) * dtype.itemsize)
            if file.read() != mark:
                raise FileNotFoundError
            shared.array = _mapped(file, dtype, shape)
    except OSError:
        raise RuntimeError(f"{place}: the process that shared an array no longer has it") from None
    shared._place = place, mark  # A worker's own worker opens the same file.
    return shared


class SharedTexts(Texts):
    """Byte strings that all processes share; nothing can be added to them."""

    def __init__(self, strings: Iterable[bytes] = ()):
        super().__init__()
        for string in strings:
            super().append(string)
        self._hold(Shared(np.frombuffer(self._buffer, np.uint8)), Shared(np.array(self._ends, np.int64)))

    def append(self, string: bytes) -> None:
        raise TypeError("shared texts cannot be added to")

    def __getstate__(self) -> tuple[Shared, Shared]:
        return self._shared

    def __setstate__(self, state: tuple[Shared, Shared]) -> None:
        self._hold(*state)

    def _hold(self, buffer: Shared, ends: Shared) -> None:
        # Views of memory are several times as quick to index as arrays.
        self._shared, self._buffer, self._ends = (buffer, ends), memoryview(buffer.array), memoryview(ends.array)


class PhraseList(Sequence[str]):
    """Different texts in any order, each found by its number and each number by its text, by bisection.

    Args:
      texts: their order is kept.
    """

    def __init__(self, texts: Iterable[str]):
        self._texts = SharedTexts(map(_encoded, texts))
        sorted_already = all(a < b for a, b in zip(self._texts, _behind_first(self._texts), strict=False))
        order = None if sorted_already else sorted(range(len(self._texts)), key=self._texts.__getitem__)
        self._order = None if order is None else Shared(np.array(order, np.int64))

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return self._texts[place].decode("utf-8", "surrogatepass")

    def number(self, text: str) -> int:
        """Raises KeyError if the text is not there."""
        wanted, low, high = _encoded(text), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._texts[self._numbered(middle)] < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self) or self._texts[self._numbered(low)] != wanted:
            raise KeyError(text)
        return self._numbered(low)

    def __contains__(self, text: object) -> bool:
        try:
            return isinstance(text, str) and self.number(text) >= 0
        except KeyError:
            return False

    def __eq__(self, other: object) -> bool:
        alike = isinstance(other, PhraseList | tuple | list) and len(self) == len(other)
        return alike and all(map(operator.eq, self, other))

    __hash__ = None

    def _numbered(self, place: int) -> int:
        """The number of the text that is at a place in sorted order."""
        return place if self._order is None else int(self._order.array[place])


def distinct(texts: Iterable[str], at_once: int = AT_ONCE) -> PhraseList:
    """Texts in sorted order, each once, of which no more than `at_once` are objects at a time."""
    runs: list[SharedTexts] = []
    found: set[bytes] = set()
    for text in texts:
        found.add(_encoded(text))
        if len(found) == at_once:
            runs.append(SharedTexts(sorted(found)))
            found = set()
    runs.append(SharedTexts(sorted(found)))
    return PhraseList(text.decode("utf-8", "surrogatepass") for text in _once(heapq.merge(*runs)))


def _once(ascending: Iterator[bytes]) -> Iterator[bytes]:
    last = None
    for text in ascending:
        if text != last:
            yield text
        last = text


def _behind_first(texts: Texts) -> Iterator[bytes]:
    return (texts[i] for i in range(1, len(texts)))


def _encoded(text: str) -> bytes:
    """Its order is that of the text: UTF-8 keeps that of code points."""
    return text.encode("utf-8", "surrogatepass")
