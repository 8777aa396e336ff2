"""What is annotated: the images of a folder, or those of a COCO-style JSON with its boxes or points."""

import argparse
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.readers.coco.json_stream import stream
from data.readers.coco.prompts import OBJECT, CocoPrompts
from data.readers.files import IMAGES
from data.readers.table import Texts
from data.source import Record, require_path
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import LIMITS, decode_rgb, read_inside
from dataseg_jax.io.weight_files import fingerprint
from dataseg_jax.text import load_vocabulary


class FolderImages:
    """All images below a folder, sorted by folder and name; an image's id is its place, from 1."""

    vocabulary, own_ids = OBJECT, False

    def __init__(self, folder: str, limit: int = 0):
        self.annotations = self.image_folder = require_path("automatic", folder, "image folder")
        self._names = Texts()
        for name in _names(folder):
            if not limit or len(self._names) < limit:
                self._names.append(os.fsencode(name))
        if not len(self._names):
            raise InputError(f"{folder}: no image below it; images end in one of {', '.join(IMAGES)}")

    def __len__(self) -> int:
        return len(self._names)

    def record(self, index: int) -> Record:
        path = os.path.join(self.image_folder, os.fsdecode(self._names[index]))
        none = np.zeros(0, np.int64)
        return Record(index + 1, path, "", (0, 0), none, none, none.astype(bool), np.zeros((0, 4)))

    def read_image(self, record: Record) -> np.ndarray:
        """Reads the image, uint8[H, W, 3] RGB. Raises InputError."""
        return decode_rgb(read_inside(record.image, self.image_folder, LIMITS), record.image, LIMITS)

    def name(self, record: Record) -> str:
        """The path of a record's image below the folder, with slashes."""
        return os.path.relpath(record.image, self.image_folder).replace(os.sep, "/")

    def digest(self) -> str:
        """SHA-256 of all names."""
        names = hashlib.sha256()
        for index in range(len(self._names)):
            names.update(self._names[index] + b"\n")
        return names.hexdigest()


def open_images(options: argparse.Namespace) -> tuple[Any, list[Any], str]:
    """The images, the categories of the annotations that are made of them, and a digest of both.

    Raises:
      InputError: as the readers.
    """
    if options.annotations is None:
        source = FolderImages(options.images, options.limit)
        return source, _categories(OBJECT), source.digest()
    kind = "images" if options.mode == "automatic" else options.mode
    listed = stream(options.annotations, {"images": _skip, "annotations": _skip}).get("categories")
    objects = kind == "images" or (kind == "points" and not listed and not options.vocabulary)
    vocabulary = OBJECT if objects else load_vocabulary(options.vocabulary or options.annotations)
    paths = {"images": options.images, "annotations": options.annotations}
    source = CocoPrompts(vocabulary, kind=kind, limit=options.limit, **paths)
    categories = listed if listed and not objects else _categories(vocabulary)
    return source, categories, fingerprint(Path(options.annotations))


def _categories(vocabulary) -> list[dict[str, Any]]:
    return [{"id": k, "name": name} for k, name in zip(vocabulary.ids, vocabulary.names, strict=True)]


def _names(folder: str) -> Iterator[str]:
    """Paths of images below a folder, a folder at a time; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(IMAGES) and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)


def _skip(number: int, entry: Any, text: str) -> None:
    """Of a list that is read later."""
