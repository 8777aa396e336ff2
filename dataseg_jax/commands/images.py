"""The images that a command is given."""

import glob
import os
import re
from pathlib import Path

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import Limits, read_rgb

# What OpenCV decodes everywhere.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def find_images(places: list[str], flag: str = "--images") -> list[Path]:
    """The images of files, folders (and all folders below them) and globs, sorted, each once; `flag` is for messages.

    Raises:
      InputError: a place that does not exist, or one without any image.
    """
    found: dict[str, Path] = {}
    for place in filter(None, (place.strip() for place in places)):
        path = Path(place)
        if path.is_dir():
            here = {file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()}
        elif path.is_file():
            here = {path}
        else:
            here = {Path(match) for match in glob.glob(place, recursive=True) if os.path.isfile(match)}
            if not here and not glob.has_magic(place):
                raise InputError(f"{flag}: {place}: no such file or folder")
        if not here:
            raise InputError(f"{flag}: {place}: no image found; images end in {', '.join(SUFFIXES)}")
        for file in sorted(here):  # One file may be given as a/b.png and as /c/a/b.png.
            found.setdefault(os.path.abspath(file), file)
    if not found:
        raise InputError(f"{flag} is empty; give images, folders or globs with commas between")
    return sorted(found.values())


def image_ids(files: list[Path]) -> dict[Path, int]:
    """The number at the end of each file name, as in COCO, if these are unique; else 1, 2, ..."""
    numbers = [re.search(r"(\d+)$", file.stem) for file in files]
    ids = [int(number[1]) for number in numbers if number]
    if len(set(ids)) < len(files):
        ids = list(range(1, len(files) + 1))
    return dict(zip(files, ids, strict=True))


def read_images(files: list[Path], max_pixels: int = Limits.pixels) -> tuple[dict[Path, np.ndarray], list[str]]:
    """The images uint8[H, W, 3] that can be read, and what is wrong with the others."""
    images, problems = {}, []
    for file in files:
        try:
            images[file] = read_rgb(str(file), Limits(pixels=max_pixels))
        except InputError as error:
            problems.append(str(error))
    return images, problems
