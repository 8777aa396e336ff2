"""Numbers and text as pickles write them in their instructions."""

import re

from dataseg_jax.io.weights.files import Unreadable, shown

MAX_INTEGER = 1024  # Bytes of one integer.
_MAX_DIGITS = 1000  # Of a number in decimal.
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def decimal(line: bytes) -> int:
    line = line.strip().removesuffix(b"L")
    if not line.removeprefix(b"-").isdigit() or len(line) > _MAX_DIGITS:
        raise Unreadable(f"it is no pickle: {shown(line)} is no integer")
    return int(line)


def integer_or_bool(line: bytes) -> int | bool:
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else decimal(line)


def real(line: bytes) -> float:
    try:
        if len(line) <= _MAX_DIGITS:
            return float(line)
    except ValueError:
        pass
    raise Unreadable(f"it is no pickle: {shown(line)} is no number")


def quoted(line: bytes) -> str:
    """Text of Python 2, where bytes and text were one type: each byte is a character."""
    line = line.strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise Unreadable("it is no pickle: text without quotes")

    def meant(escape: re.Match) -> bytes:
        code, letter = escape.groups()
        if code is None and letter not in _ESCAPED:
            raise Unreadable("it is no pickle: text with an unknown escape")
        return _ESCAPED[letter] if code is None else bytes([int(code, 16)])

    return _ESCAPE.sub(meant, line[1:-1]).decode("latin1")
