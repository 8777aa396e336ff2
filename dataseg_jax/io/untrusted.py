"""Files of strangers: names, bytes, JSON and numbers that may be anything, and end in one clear line if wrong.

Every file that the project did not write itself is opened here, so that a pipe cannot hang it, a name cannot lead out
of its folder, and damaged content cannot end a run in another library's traceback. No JAX: workers use it.
"""

import contextlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, TextIO

import numpy as np

from dataseg_jax.errors import InputError, first_line, one_line
from dataseg_jax.io.weights import instructions
from dataseg_jax.io.weights.files import Stream, Unreadable

# ours: no file of the datasets and models that this project knows is as large as the limit of its kind.
MAX_BYTES = 2**30  # Of an image, a mask, a label map.
MAX_JSON_BYTES = 2**32  # Of a JSON that is read as a whole; as Python objects it takes about ten times as much memory.

_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):  # A pipe without a writer must not block its reader.
    _FLAGS |= getattr(os, _name, 0)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
# Mistakes of this project, not of a file: they keep their traceback.
_BUGS = (AssertionError, NameError, ImportError, Warning)


def open_regular(path: str | os.PathLike, limit: int | None = None) -> BinaryIO:
    """Opens a file for reading.

    Args:
      path: where it is.
      limit: the most bytes it may have; None = any number.

    Raises:
      InputError: it is missing, is no regular file (a folder, a pipe, a device), has more bytes, or cannot be opened.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as error:
        raise InputError(f"{os.fspath(path)}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: NUL, or half a character, in the name.
        raise InputError(f"{os.fspath(path)}: cannot be read ({_reason(error)})") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = next((kind for is_kind, kind in _KINDS if is_kind(found.st_mode)), "something else")
            raise InputError(f"{os.fspath(path)}: is {kind}, and must be a regular file")
        if limit is not None and found.st_size > limit:
            raise InputError(f"{os.fspath(path)}: has {found.st_size} bytes, and may have up to {limit}")
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def open_text(path: str | os.PathLike, limit: int | None = None) -> TextIO:
    """As `open_regular`, for text in UTF-8, with or without a byte order mark."""
    return io.TextIOWrapper(open_regular(path, limit), encoding="utf-8-sig")


def read_bytes(path: str | os.PathLike, limit: int | None = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises InputError."""
    with open_regular(path, limit) as file, boundary(os.fspath(path)):
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
    if len(content) > size:  # Being written; or of a kind, as in /proc, that does not say how long it is.
        raise InputError(
            f"{os.fspath(path)}: has more bytes than the {size} that its folder states; is it being written?"
        )
    return content


def read_text(path: str | os.PathLike, limit: int | None = MAX_BYTES) -> str:
    """The content of a text file in UTF-8, with or without a byte order mark. Raises InputError."""
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{os.fspath(path)}: is not UTF-8 text ({first_line(error)})") from error


def read_json(path: str | os.PathLike, limit: int | None = MAX_JSON_BYTES) -> Any:
    """The content of a JSON file.

    As Python's own parser, it takes NaN and infinite numbers, integers of up to 4,300 digits and texts with halves of
    characters: whoever uses a value checks it (`integer`, `number`, `below`).

    Raises:
      InputError: the file cannot be read, or is not JSON.
    """
    content = read_bytes(path, limit)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read as JSON ({first_line(error)})") from error
    del content
    return parse_json(text, os.fspath(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """As `read_json`, of text that came from `where`."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: cannot be read as JSON ({first_line(error)})") from error
    except RecursionError as error:
        raise InputError(f"{where}: cannot be read as JSON ({NESTED})") from error


NESTED = "its lists and objects are nested too deeply"


def json_object(path: str | os.PathLike, what: str, limit: int | None = MAX_JSON_BYTES) -> dict[str, Any]:
    """The content of a JSON file that must hold one object; `what` says what it would be. Raises InputError."""
    content = read_json(path, limit)
    if not isinstance(content, dict):
        raise InputError(f"{os.fspath(path)}: is no {what}: it holds {spell(content)}, not an object")
    return content


def read_arrays(path: str | os.PathLike, limit: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """All arrays of an .npz; none that would be unpickled.

    Raises:
      InputError: the file cannot be read, is no .npz, or its arrays have more than `limit` bytes when decompressed.
    """
    with open_regular(path, limit) as file, boundary(os.fspath(path), "cannot be read as an .npz"):
        with zipfile.ZipFile(file) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > limit:
            raise InputError(f"{os.fspath(path)}: its arrays have {size} bytes, and may have up to {limit}")
        file.seek(0)
        with np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def read_array(path: str | os.PathLike, limit: int = MAX_BYTES) -> np.ndarray:
    """The array of an .npy; none that would be unpickled.

    Raises:
      InputError: the file cannot be read, is no .npy, or is larger than `limit` bytes.
    """
    with open_regular(path, limit) as file, boundary(os.fspath(path), "cannot be read as an .npy"):
        return np.lib.format.read_array(file, allow_pickle=False)


def read_pickle(path: str | os.PathLike, limit: int, most: int) -> Any:
    """The plain values of a pickle, read as data: Python's own unpickler can be made to crash without any name.

    Raises:
      InputError: it cannot be read, has more than `limit` bytes or `most` instructions, or names a function or class.
    """
    with open_regular(path, limit) as file, boundary(os.fspath(path), "cannot be read as a pickle"):
        try:
            return instructions.load(Stream(file), most=most, names=False)
        except Unreadable as error:
            raise InputError(f"{os.fspath(path)}: cannot be read as a pickle ({error})") from error


def integer(value: Any, what: str, low: int = -(2**63), high: int = 2**63 - 1) -> int:
    """Returns a whole number between `low` and `high`, both included; true and false are none.

    Raises:
      InputError: it is something else; `what` begins the message.
    """
    if type(value) is not int:
        raise InputError(f"{what} {spell(value)} is no integer")
    if not low <= value <= high:
        raise InputError(f"{what} {spell(value)} must be between {low} and {high}")
    return value


def spell(value: Any, most: int = 60) -> str:
    """A value of a stranger's JSON as it can stand in a message: its `repr`, cut."""
    if isinstance(value, list | dict) and len(value) > most:
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    try:
        text = one_line(repr(value[: 2 * most] if isinstance(value, str) else value))
    except (RecursionError, ValueError):  # ValueError: an integer of more digits than Python spells.
        return f"something of type {type(value).__name__}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def below(root: str, name: Any, where: str) -> str:
    """The path of `name` below the folder `root`, by its letters alone; no file is looked at.

    Args:
      root: a folder that the user named.
      name: of a file in it, slashes between folders, as a stranger's file states it.
      where: that file and the entry in it, for the message.

    Raises:
      InputError: it is no text, is empty, absolute or leads out of `root`, or no file can be called so.
    """
    require_name(name, where)
    return os.path.join(root, name)


def require_name(name: Any, where: str) -> None:
    """As `below`, where the folder is not known yet. Raises InputError."""
    fault = _fault(name)
    if fault:
        raise InputError(f"{where}: file name {spell(name)} {fault}; it must be a path below the folder of such files")


def _fault(name: Any) -> str:
    if type(name) is not str:
        return "is no text"
    if os.sep == "\\":
        name = name.replace("\\", "/")
        if ":" in name:
            return "names a drive or a stream"
    if not name:
        return "is empty"
    if name[0] == "/":
        return "is absolute"
    if "\0" in name:
        return "holds the character NUL"
    if not name.isascii() and any("\ud800" <= c <= "\udfff" for c in name):
        return "holds half a character"
    if ".." in name:
        depth = 0
        for part in name.split("/"):
            depth += -1 if part == ".." else part not in ("", ".")
            if depth < 0:
                return "leads out of the folder"
    return ""


def require_inside(path: str, root: str) -> None:
    """Refuses a file that symbolic links lead out of `root`; `root` itself may be a link to another disk.

    Raises:
      InputError: with where it leads to.
    """
    if _plainly_inside(path, root):
        return
    try:
        real, folder = os.path.realpath(path), os.path.realpath(root)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({_reason(error)})") from error
    if real != folder and not real.startswith(os.path.join(folder, "")):
        raise InputError(f"{path}: leads to {real}, which is not below {root}; files must lie in the folder given")


def _plainly_inside(path: str, root: str) -> bool:
    """Whether `path` is `root` and names below it none of which is a link: the usual case, for a look at each."""
    start = os.path.join(root, "")
    if not path.startswith(start):
        return False
    place = root
    for part in path[len(start) :].split("/"):
        if part == "..":
            return False
        place = os.path.join(place, part)
        if os.path.islink(place):
            return False
    return True


@contextlib.contextmanager
def boundary(where: str, rule: str = "cannot be read") -> Iterator[None]:
    """Turns whatever a library raises on damaged content into one InputError, "where: rule (what was raised)".

    InputErrors pass as they are, and so do mistakes of this project: failed assertions, unknown names.
    """
    try:
        yield
    except (InputError, *_BUGS):
        raise
    except MemoryError as error:
        raise InputError(f"{where}: {rule} (it would need more memory than there is)") from error
    except RecursionError as error:
        raise InputError(f"{where}: {rule} ({NESTED})") from error
    except OSError as error:
        raise InputError(f"{where}: {rule} ({_reason(error)})") from error
    except Exception as error:  # What damage leads a library to has no common class.
        raise InputError(f"{where}: {rule} ({type(error).__name__}: {first_line(error)})") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)
