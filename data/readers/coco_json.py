"""COCO-style JSON files, read once into columns."""

import array
import os
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.readers.texts import Texts
from data.source import Problem, Record, normalised_word
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import below, parse_json, read_json, require_name, spell
from dataseg_jax.text.vocabulary import Vocabulary

_LONGEST, _MOST = 2**20, 2**30  # Pixels of a side and of an image that can be decoded; RLE needs no more either.
_PROBES = 64  # Images that are looked for to learn how a dataset was unpacked.


class Image(NamedTuple):
    """One entry of the list "images"; height and width are 0 where the file does not state them."""

    image_id: int
    image: str
    height: int
    width: int
    mask: str = ""


class Rows:
    """Targets in the order of the file; typed arrays, because Objects365 as a list of dicts fills the memory."""

    def __init__(self):
        self._ids = array.array("q")  # image id, segment id, category id, crowd: four values per row.
        self._boxes = array.array("d")  # x, y, w, h.
        self._own = array.array("q")  # Ids of the annotations, where they have some.
        self._texts = Texts()

    def append(
        self, image_id: int, segment_id: int, category: int, crowd: int, box: Sequence[float] = (0, 0, 0, 0)
    ) -> None:
        """Appends a target. Raises TypeError or ValueError if a number is no integer of 64 bits."""
        x, y, w, h = box
        if type(segment_id) is not int or type(category) is not int or type(crowd) not in (int, bool):
            what = f"segment id {spell(segment_id)}, category_id {spell(category)}, iscrowd {spell(crowd)}"
            raise TypeError(f"one of {what} is no integer")
        try:
            self._ids.extend((image_id, segment_id, category, crowd))
        except OverflowError:
            raise ValueError(f"one of {segment_id}, {category}, {crowd} does not fit into 64 bits") from None
        self._boxes.extend((x, y, w, h))

    def append_entry(self, entry: dict[str, Any], box: Any, text: str = "") -> None:
        """Appends an annotation of the COCO detection format, whose box is `box`; `text` is kept for its masks.

        Raises:
          KeyError, TypeError, ValueError, AttributeError, OverflowError: a field is missing or of a wrong kind.
        """
        if type(box) not in (list, tuple) or bool in map(type, box):
            raise TypeError(f"bbox {spell(box)} is no list of numbers")
        x, y, w, h = map(float, box)  # Some tools write numbers as strings.
        self.append(check_id(entry["image_id"]), 0, entry["category_id"], entry.get("iscrowd") or 0, (x, y, w, h))
        own = entry.get("id")
        if type(own) is int and abs(own) < 2**63:
            self._own.append(own)
        if text:
            self._texts.append(text.encode())

    def columns(self) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """The image ids int64[T], and the columns segment_ids, categories, crowd and boxes of a `Record`."""
        ids = np.frombuffer(self._ids, np.int64).reshape(-1, 4)
        boxes = np.frombuffer(self._boxes, np.float64).reshape(-1, 4)
        return ids[:, 0], (ids[:, 1], ids[:, 2], ids[:, 3] != 0, boxes)

    def repeated_ids(self) -> np.ndarray:
        """Ids that more than one annotation has, each once."""
        ids, counts = np.unique(np.frombuffer(self._own, np.int64), return_counts=True)
        return ids[counts > 1]

    def texts(self, order: np.ndarray, offsets: np.ndarray) -> Texts | None:
        """For every i the texts of rows order[offsets[i]:offsets[i + 1]] as compressed JSON lists, or None."""
        if not len(self._texts):
            return None
        groups = (order[start:end].tolist() for start, end in zip(offsets, offsets[1:], strict=False))
        return Texts(zlib.compress(b"[" + b",".join([self._texts[i] for i in group]) + b"]", 1) for group in groups)


class Table:
    """All records of an annotation file in columns, sorted by image id; cheap to hand to worker processes.

    Attributes:
      defects: image ids that are listed twice (the first entry counts), annotations of images not listed, ids that
        several annotations share.

    Raises:
      InputError: there is no image at all.
    """

    def __init__(self, file: str, limit: int, images: Sequence[Image], targets: Rows):
        if limit < 0:
            raise InputError(f"{file}: limit must be 0 (all images) or more, not {limit}")
        if not images:
            raise InputError(f"{file}: lists no usable image, so there is nothing to read")
        kept: dict[int, Image] = {}
        defects = []
        for image in images:
            if kept.setdefault(image.image_id, image) is not image:
                defects.append(Problem(file, f"image {image.image_id}", "image id is listed more than once"))
        listed = np.array(sorted(kept), np.int64)
        self._ids = listed[: limit or None]
        ordered = [kept[key] for key in self._ids.tolist()]
        self._images = Texts(os.fsencode(image.image) for image in ordered)
        self._masks = Texts(os.fsencode(image.mask) for image in ordered)
        self._sizes = np.array([(image.height, image.width) for image in ordered], np.int32)

        owners, columns = targets.columns()
        place = np.searchsorted(listed, owners)
        strange = listed[np.minimum(place, len(listed) - 1)] != owners
        for image_id in np.unique(owners[strange]).tolist():
            defects.append(Problem(file, f"image {image_id}", "has annotations, but is not in the list of images"))
        place[strange] = len(listed)
        order = np.argsort(place, kind="stable")
        self._offsets = np.searchsorted(place[order], np.arange(len(ordered) + 1))
        order = order[: self._offsets[-1]]
        self._segment_ids, self._categories, self.crowd, self.boxes = (_narrow(column[order]) for column in columns)
        self._texts = targets.texts(order, self._offsets)
        repeated = targets.repeated_ids().tolist()
        if repeated:
            more = f", and so are {len(repeated) - 1} other ids" if repeated[1:] else ""
            # Nothing here goes by these ids; other tools lose all but the last.
            defects.append(Problem(file, f"annotation id {repeated[0]}", f"is used more than once{more}", fatal=False))
        self.defects = tuple(defects)

    def __len__(self) -> int:
        return len(self._images)

    def record(self, index: int) -> Record:
        """Image `index` with its targets in the order of the file."""
        rows = slice(self._offsets[index], self._offsets[index + 1])
        where = f"the annotations of image {self._ids[index]}"
        entries = parse_json(zlib.decompress(self._texts[index]), where) if self._texts else []
        return Record(
            image_id=int(self._ids[index]),
            image=os.fsdecode(self._images[index]),
            mask=os.fsdecode(self._masks[index]),
            size=(int(self._sizes[index, 0]), int(self._sizes[index, 1])),
            segment_ids=self._segment_ids[rows].astype(np.int64),
            categories=self._categories[rows].astype(np.int64),
            crowd=self.crowd[rows],
            boxes=self.boxes[rows],
            shapes=tuple(entry.get("segmentation") for entry in entries),
            areas=np.array([_area(entry.get("area")) for entry in entries]) if self._texts else None,
        )


def _narrow(column: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest kind of integer that holds them; other columns as they are."""
    if column.dtype != np.int64 or not len(column):
        return column
    return column.astype(np.result_type(np.min_scalar_type(column.min()), np.min_scalar_type(column.max())))


def _area(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else np.nan


def load(path: str, lists: Sequence[str]) -> dict[str, Any]:
    """Reads a COCO-style JSON file that must hold the named lists.

    Raises:
      InputError: the file is not JSON, or lacks one of the lists.
    """
    content = read_json(path)
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
    names_of = {
        k: {normalised_word(name), normalised_word(text)}
        for k, name, text in zip(vocabulary.ids, vocabulary.names, vocabulary.spoken, strict=True)
    }
    entries = [e for e in entries if type(e.get("id")) is int and isinstance(e.get("name"), str)]
    shared = [(e["id"], e["name"]) for e in entries if e["id"] in names_of]
    other = [(k, name) for k, name in shared if normalised_word(name) not in names_of[k]]
    if 2 * len(other) > len(shared):
        k, name = other[0]
        called = vocabulary.names[vocabulary.ids.index(k)]
        raise InputError(
            f"{path}: vocabulary {vocabulary.name} calls {len(other)} of {len(shared)} categories something else: id "
            f"{k} is '{name}' in the file and '{called}' in the vocabulary; give the vocabulary of this file"
        )


def load_images(path: str, entries: Sequence[Any], folder: str) -> list[Image]:
    """Reads the list "images", in the order of the file; images lie in `folder`.

    Raises:
      InputError: as `load_image` and `located`.
    """
    return located(path, [load_image(path, number, entry) for number, entry in enumerate(entries)], folder)


def load_image(path: str, number: int, entry: Any, key: str = "file_name", parts: int = 0) -> Image:
    """Reads entry `number` of the list "images"; `image` is its name as the file gives it, not yet `located`.

    Args:
      path: the annotation file, for messages.
      number: from 0.
      entry: the entry.
      key: the field that holds the name; "" = names are not needed.
      parts: take so many parts of the name from its end; 0 = all.

    Raises:
      InputError: the entry lacks its id or name, the id is no integer of 32 bits, the name leads out of the folder of
        the images, or the size is none that an image can have.
    """
    try:
        height, width = side(entry.get("height")), side(entry.get("width"))
        if height * width > _MOST:
            raise ValueError(f"the size {width}x{height} is above {_MOST} pixels")
        name = ""
        if key:
            name = "/".join(entry[key].split("/")[-parts:]) if parts else entry[key]
            require_name(name, f"{path}: image number {number}")
        return Image(check_id(entry["id"]), name, height, width)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise malformed(path, "image", number, f"an integer id and a {key or 'size'}", error) from error


def located(path: str, images: list[Image], folder: str) -> list[Image]:
    """The images with their paths, however the folders of their names were unpacked.

    A name like images/v1/patch8/a.jpg may lie below `folder` as it is or without some of its leading folders, of all
    images alike: the longest form in which one of several is there counts.

    Raises:
      InputError: names have folders, and in no form any of the images is there.
    """
    looked_for = [p.image for p in images[:: max(1, len(images) // _PROBES)]]
    deepest = max((name.count("/") for name in looked_for), default=0)
    forms = range(deepest + 1) if deepest else ()
    for drop in forms:
        if any(os.path.exists(os.path.join(folder, _without(name, drop))) for name in looked_for):
            break
    else:
        drop = 0
        if forms:
            tried = ", ".join(dict.fromkeys(_without(max(looked_for, key=len), drop) for drop in forms))
            raise InputError(
                f"{path}: none of {len(looked_for)} images looked for is in {folder}, for example as {tried}"
            )
    where = f"{path}: image "
    return [p._replace(image=below(folder, _without(p.image, drop), where + str(p.image_id))) for p in images]


def _without(name: str, folders: int) -> str:
    return name.split("/", folders)[-1]


def check_id(value: Any) -> int:
    """Returns an image id if it is what COCO defines: an integer. Raises TypeError or ValueError if not."""
    if type(value) is not int:
        raise TypeError(f"image id {spell(value)} is no integer")
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"image id {spell(value)} does not fit into 32 bits")
    return value


def side(value: Any) -> int:
    """Height or width as a file states it, 0 if it does not. Raises TypeError or ValueError."""
    if value is None or value == "":
        return 0
    if type(value) not in (int, float, str):
        raise TypeError(f"height or width {spell(value)} is no number")
    number = value if type(value) is int else float(value)
    if not 0 <= number <= _LONGEST or number % 1:
        raise ValueError(f"height or width {spell(value)} is no whole number from 0 to {_LONGEST}")
    return int(number)


def malformed(file: str, what: str, number: int, needs: str, error: Exception) -> InputError:
    """The error for entry `number` (from 0) of a list that lacks a field or holds a wrong type."""
    if isinstance(error, InputError):  # It says all this itself.
        return error
    return InputError(f"{file}: {what} number {number}: {type(error).__name__}: {error}; each needs {needs}")
