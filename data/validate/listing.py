"""Rules about an annotation file as a whole, read as plain JSON: what the readers do not need and so do not see."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data.problem import Problem, Problems
from data.validate.rules import MOST_OF_DATASET, some
from dataseg_jax.text.vocabulary import Vocabulary

_NAME, _ID = ("an integer or a text", (int, str)), ("an integer", (int,))
_TEXT, _LIST = ("a text", (str,)), ("a list", (list,))
# What each entry of a list must hold. Panoptic annotations describe an image, the others one target.
_IMAGE = {"id": _NAME, "file_name": _TEXT}
_PANOPTIC = {"image_id": _NAME, "file_name": _TEXT, "segments_info": _LIST}
_SEGMENT = {"id": _ID, "category_id": _ID}
_TARGET = {"image_id": _NAME, "category_id": _ID}


class Listing:
    """Goes through the entries of a COCO-style JSON file, and keeps what is wrong with them.

    Args:
      file: its path, for the problems.
      vocabulary: what its categories should be; None = not known.
    """

    def __init__(self, file: str, vocabulary: Vocabulary | None):
        self._file, self._vocabulary = file, vocabulary
        self._found = Problems(MOST_OF_DATASET)
        self._image_of: dict[str, Any] = {}  # File name -> image id.
        self._first_use: dict[int, Any] = {}  # Category id -> image id.

    def image(self, number: int, entry: Any) -> None:
        """Looks at an entry of the list "images"."""
        if not self._has_fields(f"image number {number}", entry, _IMAGE):
            return
        first = self._image_of.setdefault(entry["file_name"], entry["id"])
        if first != entry["id"]:  # The reader reports an id that occurs twice.
            rule = f"has the file_name {entry['file_name']!r} of image {first}"
            self._add(f"image {entry['id']}", rule, "file_name", fatal=False)

    def annotation(self, number: int, entry: Any) -> None:
        """Looks at an entry of the list "annotations"."""
        panoptic = isinstance(entry, dict) and "segments_info" in entry
        if not self._has_fields(f"annotation number {number}", entry, _PANOPTIC if panoptic else _TARGET):
            return
        image = entry["image_id"]
        if panoptic:
            for place, segment in enumerate(entry["segments_info"]):
                if self._has_fields(f"image {image}: segment number {place}", segment, _SEGMENT):
                    self._first_use.setdefault(segment["category_id"], image)
            return
        self._first_use.setdefault(entry["category_id"], image)
        box = entry.get("bbox")
        if box is not None and not _is_box(box):
            rule = f'"bbox" is {_spell(box)}; it must be four numbers x, y, width, height (image {image})'
            self._add(f"annotation number {number}", rule, "bbox")

    def problems(self, rest: dict[str, Any]) -> list[Problem]:
        """What was found, given the other members of the file."""
        categories = rest.get("categories")
        categories = [entry for entry in categories if isinstance(entry, dict)] if isinstance(categories, list) else []
        self._found.add(self._categories(categories))
        self._found.add(self._used(categories), "used")
        return list(self._found)

    def _categories(self, categories: Sequence[dict]) -> Iterator[Problem]:
        for key in _repeated(entry.get("id") for entry in categories):
            yield Problem(self._file, f"category {key}", "category id is listed more than once", kind="repeated")
        if self._vocabulary is None:
            return
        kind_of = dict(zip(self._vocabulary.ids, self._vocabulary.is_thing, strict=True))
        for entry in categories:
            key, thing = entry.get("id"), entry.get("isthing")
            if type(key) is int and key in kind_of and thing is not None and bool(thing) != kind_of[key]:
                kinds = ("stuff", "a thing")
                rule = (
                    f"'{entry.get('name')}' is {kinds[bool(thing)]} in the file and {kinds[kind_of[key]]} in "
                    f"vocabulary {self._vocabulary.name}, which decides what is merged and how it is scored"
                )
                yield Problem(self._file, f"category {key}", rule, fatal=False, kind="isthing")
        missing = sorted({entry["id"] for entry in categories if type(entry.get("id")) is int}.difference(kind_of))
        if missing:
            rule = f"lists categories that vocabulary {self._vocabulary.name} lacks: ids {some(missing)}"
            yield Problem(self._file, "", rule, fatal=False)

    def _used(self, categories: Sequence[dict]) -> Iterator[Problem]:
        known = {entry.get("id") for entry in categories if isinstance(entry.get("id"), int)}
        for category, image in sorted(self._first_use.items()):
            if known and category not in known:
                rule = f"category_id {category} is not in the file's own list of categories"
                yield Problem(self._file, f"image {image}", rule)

    def _has_fields(self, where: str, entry: Any, fields: dict[str, tuple[str, tuple[type, ...]]]) -> bool:
        if not isinstance(entry, dict):
            self._add(where, f"is {_spell(entry)}; it must be an object with {' and '.join(fields)}", "object")
            return False
        sound = True
        for key, (spelled, kinds) in fields.items():
            if key not in entry:
                self._add(where, f'lacks "{key}"', f"lacks {key}")
                sound = False
            elif type(entry[key]) not in kinds:
                self._add(where, f'"{key}" is {_spell(entry[key])}; it must be {spelled}', f"kind of {key}")
                sound = False
        return sound

    def _add(self, where: str, rule: str, kind: str, fatal: bool = True) -> None:
        self._found.add([Problem(self._file, where, rule, fatal)], kind)


def _repeated(values: Iterable[Any]) -> list[Any]:
    counts = Counter(value for value in values if isinstance(value, int | str))
    return [value for value, count in counts.items() if count > 1]


def _is_box(box: Any) -> bool:
    try:
        return isinstance(box, list) and len([float(number) for number in box]) == 4  # Some tools write texts.
    except (TypeError, ValueError, OverflowError):
        return False


def _spell(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
