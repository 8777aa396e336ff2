"""COCO-style JSON files, read once into columns."""

import array
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.records import Problem, Record
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary


class Picture(NamedTuple):
    """One entry of the list "images"; height and width are 0 where the file does not state them."""

    image_id: int
    image: str
    height: int
    width: int
    mask: str = ""


class Rows:
    """Targets in the order of the file; typed arrays, because Objects365 as a list of dicts fills the memory."""

    def __init__(self):
        self._ids = array.array("q")  # image id, segment id, category id, crowd: four values a row.
        self._boxes = array.array("d")  # x, y, w, h.

    def append(
        self, image_id: int, segment_id: int, category: int, crowd: int, box: Sequence[float] = (0, 0, 0, 0)
    ) -> None:
        x, y, w, h = box
        self._ids.extend((image_id, segment_id, category, crowd))
        self._boxes.extend((x, y, w, h))

    def columns(self) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The image ids int64[T], and the columns segment_ids, categories, crowd and boxes of a `Record`."""
        ids = np.array(self._ids, np.int64).reshape(-1, 4)
        boxes = np.array(self._boxes, np.float64).reshape(-1, 4)
        return ids[:, 0], (ids[:, 1], ids[:, 2], ids[:, 3] != 0, boxes)


class Table:
    """All records of an annotation file in columns, sorted by image id; cheap to hand to worker processes.

    Attributes:
      defects: image ids that are listed twice (the first entry counts), annotations of pictures not listed.

    Raises:
      InputError: there is no picture at all.
    """

    def __init__(self, file: str, limit: int, pictures: Sequence[Picture], targets: Rows):
        if limit < 0:
            raise InputError(f"{file}: limit must be 0 (all pictures) or more, not {limit}")
        if not pictures:
            raise InputError(f"{file}: lists no usable picture, so there is nothing to read")
        kept: dict[int, Picture] = {}
        defects = []
        for picture in pictures:
            if kept.setdefault(picture.image_id, picture) is not picture:
                defects.append(Problem(file, f"image {picture.image_id}", "image id is listed more than once"))
        listed = np.array(sorted(kept), np.int64)
        self._ids = listed[: limit or None]
        ordered = [kept[key] for key in self._ids.tolist()]
        self._images = tuple(picture.image for picture in ordered)
        self._masks = tuple(picture.mask for picture in ordered)
        self._sizes = np.array([(picture.height, picture.width) for picture in ordered], np.int32)

        owners, columns = targets.columns()
        place = np.searchsorted(listed, owners)
        strange = listed[np.minimum(place, len(listed) - 1)] != owners
        for image_id in np.unique(owners[strange]).tolist():
            defects.append(Problem(file, f"image {image_id}", "has annotations, but is not in the list of images"))
        place[strange] = len(listed)
        order = np.argsort(place, kind="stable")
        self._offsets = np.searchsorted(place[order], np.arange(len(ordered) + 1))
        order = order[: self._offsets[-1]]
        self._segment_ids, self._categories, self.crowd, self.boxes = (column[order] for column in columns)
        self.defects = tuple(defects)

    def __len__(self) -> int:
        return len(self._images)

    def record(self, index: int) -> Record:
        """Picture `index` with its targets in the order of the file."""
        rows = slice(self._offsets[index], self._offsets[index + 1])
        return Record(
            image_id=int(self._ids[index]),
            image=self._images[index],
            mask=self._masks[index],
            size=(int(self._sizes[index, 0]), int(self._sizes[index, 1])),
            segment_ids=self._segment_ids[rows],
            categories=self._categories[rows],
            crowd=self.crowd[rows],
            boxes=self.boxes[rows],
        )


def load(path: str, lists: Sequence[str]) -> dict[str, Any]:
    """Reads a COCO-style JSON file that must hold the named lists.

    Raises:
      InputError: the file is not JSON, or lacks one of the lists.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    for key in lists:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise InputError(f'{path}: has no list "{key}"; COCO annotations need {" and ".join(lists)}')
    return content


def require_same_names(path: str, content: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Refuses a vocabulary that calls most of the file's category ids something else.

    A file without a list of categories is taken as it is; single names may differ, as spellings do.

    Raises:
      InputError: with an id and its two names.
    """
    listed = content.get("categories")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    ours = {
        k: {_plain(name), _plain(text)}
        for k, name, text in zip(vocabulary.ids, vocabulary.names, vocabulary.spoken, strict=True)
    }
    shared = [(e["id"], e["name"]) for e in entries if e.get("id") in ours and isinstance(e.get("name"), str)]
    other = [(k, name) for k, name in shared if _plain(name) not in ours[k]]
    if 2 * len(other) > len(shared):
        k, name = other[0]
        called = vocabulary.names[vocabulary.ids.index(k)]
        raise InputError(
            f"{path}: vocabulary {vocabulary.name} calls {len(other)} of {len(shared)} categories something else: id "
            f"{k} is '{name}' in the file and '{called}' in the vocabulary; give the vocabulary of this file"
        )


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def load_pictures(path: str, entries: Sequence[Any], folder: str) -> list[Picture]:
    """Reads the list "images", in the order of the file; pictures lie in `folder`.

    Raises:
      InputError: an entry lacks its id or file name, or the id is no integer of 32 bits.
    """
    pictures = []
    for number, entry in enumerate(entries):
        try:
            size = int(entry.get("height") or 0), int(entry.get("width") or 0)
            pictures.append(Picture(check_id(entry["id"]), os.path.join(folder, entry["file_name"]), *size))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise malformed(path, "image", number, "an integer id and a file_name", error) from error
    return pictures


def check_id(value: Any) -> int:
    """Returns an image id if it is what COCO defines: an integer. Raises TypeError or ValueError if not."""
    if type(value) is not int:
        raise TypeError(f"image id {value!r} is no integer")
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"image id {value} does not fit into 32 bits")
    return value


def malformed(file: str, what: str, number: int, needs: str, error: Exception) -> InputError:
    """The error for entry `number` (from 0) of a list that lacks a field or holds a wrong type."""
    return InputError(f"{file}: {what} number {number}: {type(error).__name__}: {error}; each needs {needs}")
