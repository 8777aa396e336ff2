"""Finds the images of a folder, or of a pattern, by the names that they share with their annotations."""

import glob
import os
import re

from data.source import require_path
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import read_text

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def named_files(dataset: str, root: str, place: str, what: str, endings: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """The files of a place by name.

    Args:
      dataset: what the dataset is called, for messages.
      root: folder of the dataset.
      place: a folder below `root`, where a file's name is its stem; or a pattern such as
        "leftImg8bit/val/*/*_leftImg8bit.png", where it is what the stars match, joined by slashes.
      what: what lies there, for messages.
      endings: of the files that count in a folder; a pattern states its own.

    Returns:
      The folder (of a pattern: the part without a star), and name -> path.

    Raises:
      InputError: the folder does not exist, or two of its files share a stem.
    """
    if "*" not in place:
        folder = require_path(dataset, os.path.join(root, place), what)
        return folder, _by_stem(folder, endings)
    folder = require_path(dataset, os.path.join(root, os.path.dirname(place.partition("*")[0])), what)
    pattern = re.compile("([^/]*)".join(re.escape(part) for part in place.split("*")))
    found = (path.replace(os.sep, "/") for path in glob.iglob(place, root_dir=root))
    named = ((pattern.fullmatch(path), path) for path in found)
    return folder, {"/".join(match.groups()): os.path.join(root, path) for match, path in named if match}


def exists(root: str, place: str) -> bool:
    """Whether there is such a file or folder below `root`, or any file of such a pattern."""
    if "*" in place:
        return next(glob.iglob(place, root_dir=root), None) is not None
    return os.path.exists(os.path.join(root, place))


def read_names(dataset: str, path: str) -> list[str]:
    """Reads a list of names, one a line, as the splits of PASCAL VOC are written; sorted.

    Raises:
      InputError: the file cannot be read, names nothing, or names something twice.
    """
    require_path(dataset, path, "list of names")
    names = sorted(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise InputError(f"{path}: is empty; it must hold one name a line")
    for first, second in zip(names, names[1:], strict=False):
        if first == second:
            raise InputError(f"{path}: holds {first} twice; every name must occur once")
    return names


def _by_stem(folder: str, endings: tuple[str, ...]) -> dict[str, str]:
    paths: dict[str, str] = {}
    for file in sorted(os.listdir(folder)):
        stem, ending = os.path.splitext(file)
        if file.startswith(".") or ending.lower() not in endings:
            continue
        if stem in paths:
            raise InputError(f"{folder}: {os.path.basename(paths[stem])} and {file} share a stem; each must be unique")
        paths[stem] = os.path.join(folder, file)
    return paths
