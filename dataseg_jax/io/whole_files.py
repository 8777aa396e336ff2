"""Files that are whole or as they were before: what is killed while it writes leaves no half of one. No JAX.

The content goes to a hidden file beside the target, `.NAME.partial` with a random NAME, to the disk, and by one rename
to its place. A process that is killed outright leaves that hidden file, which may be deleted.
"""

import contextlib
import os
import stat
import uuid
from collections.abc import Iterator
from typing import BinaryIO

ENDING = ".partial"  # Of files that are being written; no reader's pattern matches it.


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file to write, which takes the place of `path` when the context ends without an error.

    A symbolic link at `path` is replaced, and not followed. What is there and no file (a pipe, a terminal, /dev/null)
    is written to directly. Raises OSError.
    """
    path = os.fspath(path)
    if _is_stream(path):
        with open(path, "wb") as stream:
            yield stream
        return
    partial = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}{ENDING}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(partial, flags, 0o666), "wb") as file:
            yield file
        publish(partial, path)
    except OSError as error:
        if error.filename == partial:  # A message is about the file that was asked for.
            error.filename = path
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file as a whole, text as UTF-8. Raises OSError."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def publish(partial: str | os.PathLike, path: str | os.PathLike) -> None:
    """Gives a finished file its name once its content is on the disk, so that no crash leaves half a file there."""
    _sync(partial)
    os.replace(partial, path)
    _sync(os.path.dirname(path) or ".")


def _sync(path: str | os.PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_stream(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
