"""Millions of short strings as two arrays, which are pickled quickly and shared with forked workers."""

import array
from collections.abc import Iterable


class Texts:
    """A sequence of byte strings in one buffer; as objects each would cost 50 bytes more and fragment the memory."""

    def __init__(self, strings: Iterable[bytes] = ()):
        self._buffer, self._ends = bytearray(), array.array("q")
        for string in strings:
            self.append(string)

    def append(self, string: bytes) -> None:
        self._buffer += string
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._buffer[self._ends[index - 1] if index else 0 : self._ends[index]])
