"""Fields of COCO-style JSON files, with errors that name the file and the record."""

import dataclasses
import sys
from collections.abc import Iterable
from typing import Any

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import spell


@dataclasses.dataclass(frozen=True)
class Categories:
    """Categories of a ground-truth file in its order; index k is category k of the metrics."""

    file: str
    index: dict[int, int]  # COCO category id -> k.
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]


def read_categories(path: str, content: Any, panoptic: bool) -> Categories:
    """The categories of a COCO-style ground truth, panoptic ones with their thing flags."""
    records = list_of(path, content, "categories")
    if not records:
        raise InputError(f"{path}: its list of categories is empty")
    index: dict[int, int] = {}
    flags = []
    for k, record in enumerate(records):
        where = f"{path}: categories, number {k}"
        category = number(where, record, "id")
        if index.setdefault(category, k) != k:
            raise InputError(f"{where}: id {category} is used twice")
        flags.append(bool(flag(where, field(where, record, "isthing"), "isthing")) if panoptic else True)
    names = tuple(_name(f"{path}: category {c}", r) for c, r in zip(index, records, strict=True))
    return Categories(path, index, names, tuple(flags))


def _name(where: str, record: Any) -> str:
    """The name of a category, which becomes a key of the JSON that is printed; numbers are names, too."""
    name = field(where, record, "name")
    if type(name) not in (str, int) or any("\ud800" <= c <= "\udfff" for c in str(name)):
        raise InputError(f"{where}: name {spell(name)} must be a text of whole characters")
    return str(name)


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


def number(where: str, record: Any, key: str) -> int:
    """The whole number `key` of a record, within 64 bits; 3.0, as some tools write, is one. Raises InputError."""
    value = field(where, record, key)
    if type(value) not in (int, float) or not -(2**63) <= value < 2**63 or value % 1:
        raise InputError(f"{where}: {key} {spell(value)} must be a whole number")
    return int(value)


def identity(where: str, record: Any, key: str) -> int | str:
    """The image id `key` of a record: a text or a whole number. Raises InputError."""
    value = field(where, record, key)
    return value if type(value) is str else number(where, record, key)


def flag(where: str, value: Any, key: str) -> int:
    """Returns 0 or 1, of which 0.0 and false are forms. Raises InputError."""
    if type(value) not in (int, float, bool) or value not in (0, 1):
        raise InputError(f"{where}: {key} {spell(value)} must be 0 or 1")
    return int(value)


def report_extra(predictions: str, extra: Iterable, ground_truth: str, what: str = "images") -> None:
    """Reports on stderr predictions of unknown images, which are skipped, as the official tools do silently.

    `what` says what there is one prediction for, if it is no image.
    """
    extra = list(extra)
    if extra:
        print(
            f"note: {predictions} also predicts {len(extra)} {what} that {ground_truth} lacks, such as {extra[0]}; "
            "they are not scored",
            file=sys.stderr,
        )
