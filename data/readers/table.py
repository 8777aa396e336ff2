"""The columns of an annotation file: millions of images and targets in a few arrays, cheap to hand to workers."""

import array
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.problem import Problem, image_problems
from data.source import Record
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import parse_json, spell


class Texts:
    """A sequence of byte strings in one buffer; as objects each would cost 50 bytes more."""

    def __init__(self, strings: Iterable[bytes] = ()):
        self._buffer, self._ends = bytearray(), array.array("q")
        for string in strings:
            self.append(string)

    def append(self, string: bytes) -> None:
        self._buffer += string
        self._ends.append(len(self._buffer))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._buffer[self._ends[index - 1] if index else 0 : self._ends[index]])


class Image(NamedTuple):
    """One entry of the list "images"; height and width are 0 where the file does not state them."""

    image_id: int
    image: str
    height: int
    width: int
    mask: str = ""


class Images:
    """Entries of the list "images" in the order of the file; typed arrays, for as tuples a million takes 400 MB."""

    def __init__(self):
        self._numbers = array.array("q")  # image id, height, width: three values an image.
        self._names, self._masks = Texts(), Texts()

    def append(self, image: Image) -> None:
        self._numbers.extend((image.image_id, image.height, image.width))
        self._names.append(os.fsencode(image.image))
        self._masks.append(os.fsencode(image.mask))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Image:
        if not 0 <= index < len(self):
            raise IndexError(index)
        image_id, height, width = self._numbers[3 * index : 3 * index + 3]
        return Image(image_id, os.fsdecode(self._names[index]), height, width, os.fsdecode(self._masks[index]))

    def renumber(self, numbers: np.ndarray) -> None:
        """Gives each image the id numbers[its id] instead."""
        values = np.array(self._numbers, np.int64)
        values[::3] = numbers[values[::3]]
        self._numbers = array.array("q", values.tobytes())

    @property
    def ids(self) -> np.ndarray:
        """The image ids, int64[n]."""
        return np.array(self._numbers, np.int64)[::3]


class Integers:
    """Whole numbers of 64 bits, in the smallest kind of array that holds those so far."""

    def __init__(self):
        self._values = array.array("b")

    def extend(self, values: np.ndarray) -> None:
        """Adds int64[n], n > 0."""
        low, high = int(values.min()), int(values.max())
        kind = next(k for k in "bhiq" if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
        if np.dtype(kind).itemsize > self._values.itemsize:
            self._values = array.array(kind, self._values)
        self._values.frombytes(values.astype(self._values.typecode).tobytes())

    def numpy(self) -> np.ndarray:
        """int[n], not a copy."""
        return np.frombuffer(self._values, self._values.typecode)


class Rows:
    """Targets in the order of the file; typed arrays, because Objects365 as a list of dicts fills the memory."""

    _AT_ONCE = 1 << 16  # Rows that are moved from the arrays that are quick to append to, to those of the columns.

    def __init__(self):
        self._new_ids = array.array("q")  # image id, segment id, category id, crowd: four values per row.
        self._new_boxes = array.array("d")  # x, y, w, h.
        self._new_own = array.array("q")  # Ids of the annotations, where they have some.
        self._whole = {name: Integers() for name in ("owner", "segment_id", "category", "crowd")}
        self._boxes = {name: array.array("d") for name in "xywh"}
        self._own = Integers()
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
            self._new_ids.extend((image_id, segment_id, category, crowd))
        except OverflowError:
            raise ValueError(f"one of {segment_id}, {category}, {crowd} does not fit into 64 bits") from None
        self._new_boxes.extend((x, y, w, h))
        if len(self._new_boxes) >= 4 * self._AT_ONCE:
            self._move()

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
            self._new_own.append(own)
        if text:
            self._texts.append(text.encode())

    def renumber(self, numbers: np.ndarray) -> None:
        """Gives the targets of image i to image numbers[i] instead."""
        owners = self.take("owner")
        self._whole["owner"] = Integers()
        if len(owners):
            self._whole["owner"].extend(numbers[owners])

    def take(self, column: str) -> np.ndarray:
        """A column of all rows; it is no longer here then, so that nothing is in memory twice."""
        self._move()
        return np.frombuffer(self._boxes.pop(column)) if column in self._boxes else self._whole.pop(column).numpy()

    def repeated_ids(self) -> np.ndarray:
        """Ids that more than one annotation has, each once, ascending."""
        self._move()
        ids = np.sort(self._own.numpy())
        return np.unique(ids[1:][ids[1:] == ids[:-1]])

    def texts(self, order: np.ndarray, offsets: np.ndarray) -> Texts | None:
        """For every i the texts of rows order[offsets[i]:offsets[i + 1]] as compressed JSON lists, or None."""
        if not len(self._texts):
            return None
        groups = (order[start:end].tolist() for start, end in zip(offsets, offsets[1:], strict=False))
        return Texts(zlib.compress(b"[" + b",".join([self._texts[i] for i in group]) + b"]", 1) for group in groups)

    def _move(self) -> None:
        if len(self._new_boxes):
            ids, boxes = (np.array(new).reshape(-1, 4).T for new in (self._new_ids, self._new_boxes))
            for column, values in zip(self._whole.values(), ids, strict=True):
                column.extend(values)
            for column, values in zip(self._boxes.values(), boxes, strict=True):
                column.frombytes(values.tobytes())
            self._new_ids, self._new_boxes = array.array("q"), array.array("d")
        if len(self._new_own):
            self._own.extend(np.array(self._new_own))
            self._new_own = array.array("q")


class Table:
    """All records of an annotation file in columns, sorted by image id; cheap to hand to worker processes.

    Args:
      file: the annotation file.
      limit: keep the first so many images by image id, 0 = all.
      images: its images; of those that share an id, the first counts.
      targets: its targets; they are taken out of there.
      path_of: the path of an image; None = its `image`.

    Attributes:
      listed: the list of categories as the file states it, unchecked; None where it is not kept.
      crowd: bool[T] of all targets.
      defects: image ids that are listed twice, annotations of images not listed, ids that several annotations share.

    Raises:
      InputError: there is no image at all.
    """

    listed: Any = None

    def __init__(
        self, file: str, limit: int, images: Images, targets: Rows, path_of: Callable[[Image], str] | None = None
    ):
        if limit < 0:
            raise InputError(f"{file}: limit must be 0 (all images) or more, not {limit}")
        if not len(images):
            raise InputError(f"{file}: lists no usable image, so there is nothing to read")
        defects = []
        listed, first = np.unique(images.ids, return_index=True)
        again = np.delete(images.ids, first).tolist()
        defects += image_problems(file, again, "image id is listed more than once", "listed twice")
        self._ids, first = listed[: limit or None], first[: limit or None].tolist()
        self._sizes = np.zeros((len(first), 2), np.int32)
        self._images, self._masks = Texts(), Texts()
        for index, place in enumerate(first):
            image = images[place]
            self._images.append(os.fsencode(path_of(image) if path_of else image.image))
            self._masks.append(os.fsencode(image.mask))
            self._sizes[index] = image.height, image.width

        owners = targets.take("owner")
        place = _places(owners, listed)
        unlisted = np.unique(owners[place == len(listed)]).tolist()
        rule = "has annotations, but is not in the list of images"
        defects += image_problems(file, unlisted, rule, "not listed")
        del owners
        order = np.argsort(place, kind="stable")
        self._offsets = np.searchsorted(place[order], np.arange(len(first) + 1))
        del place
        order = order[: self._offsets[-1]]
        self._segment_ids, self._categories = (targets.take(name)[order] for name in ("segment_id", "category"))
        self.crowd = targets.take("crowd")[order] != 0
        self._boxes = np.empty((4, len(order)))  # By columns, each of which takes the place of one of `targets`.
        for row, name in zip(self._boxes, "xywh", strict=True):
            np.take(targets.take(name), order, out=row, mode="clip")
        self._texts = targets.texts(order, self._offsets)
        repeated = targets.repeated_ids().tolist()
        if repeated:
            more = f", and so are {len(repeated) - 1} other ids" if repeated[1:] else ""
            # Nothing here goes by these ids; other tools lose all but the last.
            defects.append(Problem(file, f"annotation id {repeated[0]}", f"is used more than once{more}", fatal=False))
        self.defects = tuple(defects)

    @property
    def boxes(self) -> np.ndarray:
        """float64[T, 4], x y w h of all targets."""
        return self._boxes.T

    def image_counts(self) -> dict[int, int]:
        """Category id -> in how many images it occurs, of those that occur in any."""
        owners = np.repeat(np.arange(len(self)), np.diff(self._offsets))
        pairs = np.unique(np.stack([self._categories.astype(np.int64), owners]), axis=1)
        return dict(zip(*(column.tolist() for column in np.unique(pairs[0], return_counts=True)), strict=True))

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
            boxes=np.ascontiguousarray(self.boxes[rows]),
            shapes=tuple(entry.get("segmentation") for entry in entries),
            areas=np.array([_area(entry.get("area")) for entry in entries]) if self._texts else None,
        )


def _places(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """int32: the place of each of many values in a sorted array, its length for one that is not there."""
    places, step = np.empty(len(values), np.int32), 1 << 20  # A step at a time, for temporaries are of 8 bytes.
    for start in range(0, len(values), step):
        part = values[start : start + step]
        found = np.searchsorted(among, part)
        found[among[np.minimum(found, len(among) - 1)] != part] = len(among)
        places[start : start + step] = found
    return places


def check_id(value: Any) -> int:
    """Returns an image id if it is what COCO defines: an integer. Raises TypeError or ValueError if not."""
    if type(value) is not int:
        raise TypeError(f"image id {spell(value)} is no integer")
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"image id {spell(value)} does not fit into 32 bits")
    return value


def _area(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e300 else np.nan
