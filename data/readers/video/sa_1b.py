"""SA-1B as it is published: `sa_<number>.jpg` and `sa_<number>.json` side by side, in a folder a shard."""

import os
import re
from typing import Any

import numpy as np

from data.readers.coco.entries import side
from data.readers.coco.instances import CocoInstances
from data.source import Record, require_path
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object, require_inside, spell
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

_NAME = re.compile(r"(sa_(\d{1,9}))\.(jpg|json)")
_MOST_BYTES = 2**26  # Of a JSON; usual are some hundred kilobytes.


class Sa1b(CocoInstances):
    """Images with masks that have no names: all are "object". Masks may overlap, and parts lie in their wholes.

    The JSON of an image is read when the image is: a hundred masks each, of eleven million images, fit into no memory.
    An image id is the number in the name of its files.

    Args:
      root: folder of the dataset.
      vocabulary: one word, or more of which the first is taken.
      name: what to call the dataset.
      images: a shard, or the folder of the shards, below `root`.
      limit: keep the first so many images by number, 0 = all.

    Raises:
      InputError: there is no such image, an image lacks its JSON or a JSON its image, or two images have one number.
    """

    def __init__(self, root: str, vocabulary: Vocabulary, *, name: str, images: str = "", limit: int = 0):
        self.name, self.vocabulary = name, vocabulary
        self.annotations = self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all images) or more, not {limit}")
        stem_of = _stems(self.image_folder)
        if not stem_of:
            raise InputError(f"{name}: {self.image_folder} holds no sa_<number>.jpg with its sa_<number>.json")
        self._numbers = sorted(stem_of)[: limit or None]
        self._stems = [stem_of[number] for number in self._numbers]

    @staticmethod
    def own_vocabulary(root: str, name: str, annotations: str) -> Vocabulary:
        """The one word, "object"."""
        return load_vocabulary("object")

    def __len__(self) -> int:
        return len(self._stems)

    def record(self, index: int) -> Record:
        stem = self._stems[index]
        path = f"{stem}.json"
        require_inside(path, self.image_folder)
        content = json_object(path, "record of SA-1B", _MOST_BYTES)
        image, found = content.get("image"), content.get("annotations")
        if not isinstance(image, dict) or not isinstance(found, list):
            raise InputError(f'{path}: needs an object "image" and a list "annotations"')
        try:
            size = side(image.get("height")), side(image.get("width"))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: image: {error}") from None
        shapes = tuple(_shape(entry, f"{path}: annotation number {number}") for number, entry in enumerate(found))
        count = len(shapes)
        return Record(
            image_id=self._numbers[index],
            image=f"{stem}.jpg",
            mask="",
            size=size,
            segment_ids=np.arange(count),
            categories=np.full(count, self.vocabulary.ids[0]),
            crowd=np.zeros(count, bool),
            boxes=np.zeros((count, 4)),
            shapes=shapes,
        )


def _shape(entry: Any, where: str) -> Any:
    shape = entry.get("segmentation") if isinstance(entry, dict) else None
    if not shape:
        raise InputError(f"{where}: is {spell(entry)}; it needs a segmentation")
    return shape


def _stems(folder: str) -> dict[int, str]:
    """Number of each image -> the common path of its files, without their endings."""
    found: dict[int, dict[str, str]] = {}
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    inner = (e for entry in entries if entry.is_dir() for e in os.scandir(entry))
    for entry in (*entries, *inner):
        match = _NAME.fullmatch(entry.name)
        if not match:
            continue
        stem, ending = os.path.splitext(entry.path)
        if found.setdefault(int(match[2]), {}).setdefault(ending, stem) != stem:
            raise InputError(f"{entry.path}: {found[int(match[2])][ending]}{ending} has the same number")
    for files in found.values():
        for ending, other in ((".jpg", ".json"), (".json", ".jpg")):
            if files.get(ending) != files.get(other) and ending in files:
                raise InputError(f"{files[ending]}{ending}: has no {other} beside it")
    return {number: files[".jpg"] for number, files in found.items()}
