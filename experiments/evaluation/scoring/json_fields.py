"""Fields of COCO-style JSON files, with errors that name the file and the record."""

import dataclasses
import json
import sys
from collections.abc import Iterable
from typing import Any

from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Categories:
    """Categories of a ground-truth file in its order; index k is category k of the metrics."""

    file: str
    index: dict[int, int]  # COCO category id -> k.
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]


def read_json(path: str) -> Any:
    """The content of a JSON file. Raises InputError naming it."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def read_categories(path: str, content: Any, panoptic: bool) -> Categories:
    """The categories of a COCO-style ground truth, panoptic ones with their thing flags."""
    records = list_of(path, content, "categories")
    if not records:
        raise InputError(f"{path}: its list of categories is empty")
    index: dict[int, int] = {}
    flags = []
    for k, record in enumerate(records):
        where = f"{path}: categories, number {k}"
        category = field(where, record, "id")
        if index.setdefault(category, k) != k:
            raise InputError(f"{where}: id {category} is used twice")
        flags.append(bool(field(where, record, "isthing")) if panoptic else True)
    names = tuple(str(field(f"{path}: category {c}", r, "name")) for c, r in zip(index, records, strict=True))
    return Categories(path, index, names, tuple(flags))


def list_of(where: str, content: Any, key: str) -> list:
    """The list `key` of an object. Raises InputError if it has none."""
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, list):
        raise InputError(f"{where}: it has no list '{key}'")
    return values


def field(where: str, record: Any, key: str) -> Any:
    """The value `key` of a record. Raises InputError if it has none."""
    if not isinstance(record, dict) or key not in record:
        raise InputError(f"{where}: it has no '{key}'")
    return record[key]


def report_extra(predictions: str, extra: Iterable, ground_truth: str) -> None:
    """Reports on stderr predictions of unknown images, which are skipped, as the official tools do silently."""
    extra = list(extra)
    if extra:
        print(
            f"note: {predictions} also predicts {len(extra)} images that {ground_truth} lacks, such as {extra[0]}; "
            "they are not scored",
            file=sys.stderr,
        )
