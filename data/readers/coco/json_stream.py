"""Reads large JSON objects piece by piece: the elements of a long list are never in memory together."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.untrusted import NESTED, open_text

_PIECE = 1 << 22  # Characters read at a time.

# Called with an element: its number from 0, the element, and its text as it stands in the file.
Visit = Callable[[int, Any, str], None]


def stream(path: str, visits: Mapping[str, Visit]) -> dict[str, Any]:
    """Reads a JSON object; `visits[key]` gets the elements of list `key`, in order.

    Objects365 as Python dicts fills the memory of a workstation, so callers keep only what they need of an element.

    Returns:
      The other members of the object.

    Raises:
      InputError: the file cannot be read or is not JSON, or it lacks one of the lists. What `visits` raise passes.
    """
    with _opened(path) as text:
        rest, seen = _members(text, visits)
    for key in visits:
        if key not in seen:
            raise InputError(f'{path}: has no list "{key}"; COCO annotations need {" and ".join(visits)}')
    return rest


def stream_list(path: str, visit: Visit) -> None:
    """Reads a JSON list; `visit` gets its elements, in order.

    Raises:
      InputError: the file cannot be read, is not JSON, or holds something else. What `visit` raises passes.
    """
    with _opened(path) as text:
        if text.peek() != "[":
            text.value()  # Raises an error of its own if this is no JSON at all.
            raise InputError(f"{path}: must hold a list")
        for number in text.separated("[", "]"):
            visit(number, *text.value())
        text.end()


@contextlib.contextmanager
def _opened(path: str) -> Iterator["_Text"]:
    try:
        with open_text(path) as file:
            yield _Text(file)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(f"{path}: cannot be read as JSON ({NESTED})") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({first_line(error)})") from error


def _members(text: "_Text", visits: Mapping[str, Visit]) -> tuple[dict[str, Any], set[str]]:
    rest: dict[str, Any] = {}
    seen: set[str] = set()
    if text.peek() == "[":  # Not looked through: it may be as large as an object of lists.
        return rest, seen
    if text.peek() != "{":
        text.value()  # Raises an error of its own if this is no JSON at all.
        return rest, seen
    for _ in text.separated("{", "}"):
        place, (key, _) = text.place, text.value()
        if type(key) is not str:
            raise ValueError(f"a name in quotes is missing at character {place}")
        text.take(":")
        if key in visits and text.peek() == "[":
            seen.add(key)
            for number in text.separated("[", "]"):
                visits[key](number, *text.value())
        else:
            rest[key] = text.value()[0]
    text.end()
    return rest, seen


class _Text:
    """A text file of which a piece is in memory, and a place in it."""

    def __init__(self, file: TextIO):
        self._file, self._piece, self._at, self._before = file, "", 0, 0
        self._decode = json.JSONDecoder().raw_decode

    @property
    def place(self) -> int:
        return self._before + self._at

    def peek(self) -> str:
        """The next character that is no white space; "" at the end of the file."""
        while True:
            while self._at < len(self._piece):
                character = self._piece[self._at]
                if character not in " \t\n\r":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def end(self) -> None:
        if self.peek():
            raise ValueError(f"it goes on after its end, at character {self.place}")

    def take(self, character: str) -> None:
        found = self.peek()
        if found != character:
            raise ValueError(f"{character!r} is missing at character {self.place}, where {found or 'the end'!r} is")
        self._at += 1

    def separated(self, opening: str, closing: str):
        """Counts the elements between brackets; each must be taken before the next."""
        self.take(opening)
        number = 0
        while number or self.peek() != closing:
            yield number
            number += 1
            if self.peek() != ",":
                break
            self.take(",")
        self.take(closing)

    def value(self) -> tuple[Any, str]:
        """The next value, and its text."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._piece, self._at)
            except json.JSONDecodeError as error:
                where = self._before + error.pos
                if self._more():
                    continue
                raise ValueError(f"{error.msg} at character {where}") from None
            length = end - self._at
            # What the piece holds of a number may be a number too: 12 or 12. of 12.5.
            if self._piece[end : end + 1] not in ("", ".", "e", "E") or not self._more():
                written = self._piece[self._at : self._at + length]
                self._at += length
                return value, written

    def _more(self) -> bool:
        # As much again as is left, so that a value of many pieces is not tried once for each of them.
        more = self._file.read(max(_PIECE, len(self._piece) - self._at))
        self._before += self._at
        self._piece, self._at = self._piece[self._at :] + more, 0
        return bool(more)
