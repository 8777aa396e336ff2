"""Rules about an annotation file as a whole, read as plain JSON: what the readers do not need and so do not see."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from data.records import Problem
from data.validate.rules import some
from dataseg_jax.text.vocabulary import Vocabulary

_INTEGER, _TEXT, _LIST = ("an integer", int), ("a text", str), ("a list", list)
_NUMBERS = "four numbers x, y, width, height"
# What each entry of a list must hold. Panoptic annotations describe a picture, the others one target.
_IMAGE = {"id": _INTEGER, "file_name": _TEXT}
_PANOPTIC = {"image_id": _INTEGER, "file_name": _TEXT, "segments_info": _LIST}
_SEGMENT = {"id": _INTEGER, "category_id": _INTEGER}
_TARGET = {"image_id": _INTEGER, "category_id": _INTEGER}


def check_listing(file: str, content: Any, vocabulary: Vocabulary) -> list[Problem]:
    """Finds what is wrong with the content of a COCO-style JSON file.

    Args:
      file: its path, for the problems.
      content: as `json.load` gives it.
      vocabulary: what its categories should be.
    """
    if not isinstance(content, dict):
        return [Problem(file, "", f"holds {_spell(content)} where COCO annotations are an object of lists")]
    lists = {key: content.get(key) for key in ("images", "annotations", "categories")}
    problems = []
    for key, value in lists.items():
        if not isinstance(value, list):
            told = "has no list" if value is None else f"holds {_spell(value)} instead of a list"
            problems.append(Problem(file, "", f'{told} "{key}"', fatal=key != "categories"))
    images, annotations, categories = ([e for e in value or () if isinstance(value, list)] for value in lists.values())
    for rules in (
        _images(file, images),
        _annotations(file, annotations),
        _categories(file, categories, vocabulary),
        _unknown_to_the_file(file, annotations, categories),
    ):
        problems.extend(rules)
    return problems


def _images(file: str, images: list) -> Iterator[Problem]:
    yield from _malformed(file, "image", images, _IMAGE)
    images = [entry for entry in images if isinstance(entry, dict)]
    for name in _repeated(entry.get("file_name") for entry in images):
        owners = [entry.get("id") for entry in images if entry.get("file_name") == name]
        if len(set(map(str, owners))) > 1:  # One id twice is told by the reader.
            rule = f"file_name {name!r} belongs to several images: {some(owners)}"
            yield Problem(file, f"image {owners[0]}", rule, fatal=False)


def _annotations(file: str, annotations: list) -> Iterator[Problem]:
    panoptic = any(isinstance(entry, dict) and "segments_info" in entry for entry in annotations)
    yield from _malformed(file, "annotation", annotations, _PANOPTIC if panoptic else _TARGET)
    entries = [entry for entry in annotations if isinstance(entry, dict)]
    if panoptic:
        for entry in entries:
            segments = entry.get("segments_info")
            where = f"image {entry.get('image_id')}: segment"
            yield from _malformed(file, where, segments if isinstance(segments, list) else [], _SEGMENT)
        return
    for key in _repeated(entry.get("id") for entry in entries):
        owners = sorted({str(entry.get("image_id")) for entry in entries if entry.get("id") == key})
        rule = f"annotation id is listed more than once (image {some(owners)}); tools that index by it lose targets"
        yield Problem(file, f"annotation {key}", rule, fatal=False)
    for entry in entries:
        box = entry.get("bbox")
        if "bbox" in entry and not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            where = f"image {entry.get('image_id')}: annotation {entry.get('id')}"
            yield Problem(file, where, f'"bbox" is {_spell(box)}; it must be {_NUMBERS}')


def _categories(file: str, categories: list, vocabulary: Vocabulary) -> Iterator[Problem]:
    entries = [entry for entry in categories if isinstance(entry, dict)]
    for key in _repeated(entry.get("id") for entry in entries):
        yield Problem(file, f"category {key}", "category id is listed more than once")
    kind_of = dict(zip(vocabulary.ids, vocabulary.is_thing, strict=True))
    for entry in entries:
        key, thing = entry.get("id"), entry.get("isthing")
        if isinstance(key, int) and thing is not None and key in kind_of and bool(thing) != kind_of[key]:
            kinds = ("stuff", "a thing")
            rule = (
                f"'{entry.get('name')}' is {kinds[bool(thing)]} in the file and {kinds[kind_of[key]]} in vocabulary "
                f"{vocabulary.name}, which decides what is merged and how it is scored"
            )
            yield Problem(file, f"category {key}", rule, fatal=False)
    missing = sorted({e["id"] for e in entries if isinstance(e.get("id"), int)}.difference(kind_of))
    if missing:
        rule = f"lists categories that vocabulary {vocabulary.name} lacks: ids {some(missing)}"
        yield Problem(file, "", rule, fatal=False)


def _unknown_to_the_file(file: str, annotations: list, categories: list) -> Iterator[Problem]:
    known = {entry.get("id") for entry in categories if isinstance(entry, dict)}
    if not known:
        return
    first_use: dict[Any, Any] = {}
    for entry in (entry for entry in annotations if isinstance(entry, dict)):
        segments = entry.get("segments_info")
        for target in segments if isinstance(segments, list) else (entry,):
            category = target.get("category_id") if isinstance(target, dict) else None
            if isinstance(category, int) and category not in known:
                first_use.setdefault(category, entry.get("image_id"))
    for category, image in sorted(first_use.items()):
        yield Problem(file, f"image {image}", f"category_id {category} is not in the file's own list of categories")


def _malformed(file: str, what: str, entries: list, fields: dict[str, tuple[str, type]]) -> Iterator[Problem]:
    for number, entry in enumerate(entries):
        where = f"{what} number {number}"
        if not isinstance(entry, dict):
            yield Problem(file, where, f"is {_spell(entry)}; it must be an object with {' and '.join(fields)}")
            continue
        for key, (spelled, kind) in fields.items():
            if key not in entry:
                yield Problem(file, where, f'lacks "{key}"')
            elif not isinstance(entry[key], kind) or isinstance(entry[key], bool):
                yield Problem(file, where, f'"{key}" is {_spell(entry[key])}; it must be {spelled}')


def _repeated(values: Iterable[Any]) -> list[Any]:
    counts = Counter(value for value in values if isinstance(value, int | str))
    return [value for value, count in counts.items() if count > 1]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spell(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
