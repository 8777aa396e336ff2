"""Where vocabularies come from: bundled with the package, read from a names file, or typed as a list of words."""

import difflib
import functools
import importlib.resources
import os
import pathlib
from collections.abc import Sequence

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import MAX_JSON_BYTES, parse_json, read_text, spell
from dataseg_jax.text.vocabulary import Vocabulary, odd_character

_KINDS = {"thing": True, "stuff": False}


@functools.cache
def _bundled() -> dict[str, pathlib.Path]:
    """Name -> file; those of the embedded world lie in a folder of their own."""
    folder = pathlib.Path(str(importlib.resources.files("dataseg_jax.text"))) / "vocabularies"
    return {file.stem: file for file in sorted(folder.glob("**/*.json"), key=lambda file: file.stem)}


def bundled_vocabularies() -> tuple[str, ...]:
    """Names of the vocabularies that come with the package."""
    return tuple(_bundled())


def load_vocabulary(name_or_path: str | os.PathLike) -> Vocabulary:
    """Loads a bundled vocabulary by name, or a names file by path.

    A names file is one of
      * `.json`: a list of `{"id": 3, "name": "floor-merged", "isthing": 0}`, or an object that holds such a list
        under "categories" (so a COCO annotation file will do). `isthing` may be absent: a thing. `"text"` is the
        spoken form where it differs from the name. `"ignore": true` marks an id that means void.
      * `.txt`: one name a line, the first line is id 0; `sky:stuff` and `cat:thing` set the kind, a bare name is
        a thing.

    Args:
      name_or_path: one of `bundled_vocabularies()`, or a path that ends in `.json` or `.txt`.

    Returns:
      The vocabulary, in the order of the file.

    Raises:
      InputError: no such vocabulary or file, or a file that cannot be used; names the file and the record.
    """
    where = os.fspath(name_or_path)
    if where in bundled_vocabularies():
        return _from_records(_read_records(where), where, where)
    if not where.endswith((".json", ".txt")):
        near = difflib.get_close_matches(where, bundled_vocabularies(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}? or " if near else ""
        raise InputError(
            f"no vocabulary '{where}': {hint}give one of {', '.join(bundled_vocabularies())}, "
            "or the path of a names file (.json or .txt)"
        )
    name = pathlib.PurePath(where).stem
    if where.endswith(".txt"):
        return _from_words(_read_text(where).splitlines(), name, where, "line")
    return _from_records(_read_records(where), name, where)


def parse_vocabulary(words: str | Sequence[str], name: str = "words") -> Vocabulary:
    """Makes a vocabulary of a typed list: `parse_vocabulary("cat, dog, sky:stuff")`.

    Args:
      words: names separated by commas, or a sequence of names. `:stuff` or `:thing` after a name sets its kind; a
        bare name is a thing.
      name: name of the vocabulary.

    Returns:
      The vocabulary, in the order given, with ids from 0.

    Raises:
      InputError: an empty or repeated name, or a kind that is neither stuff nor thing.
    """
    separate = words.split(",") if isinstance(words, str) else words
    return _from_words(separate, name, f"vocabulary '{','.join(separate)}'", "word")


def phrase_vocabulary(phrases: Sequence[str]) -> Vocabulary:
    """A vocabulary of phrases, each a thing; a colon in a phrase is part of it. Raises InputError: an empty or repeated
    phrase, or none."""
    if isinstance(phrases, str):
        raise InputError(f"phrases={phrases!r} is one text; give a list of phrases, ['the left dog']")
    names = tuple(" ".join(phrase.split()) for phrase in phrases)
    return Vocabulary("phrases", names, (True,) * len(names), tuple(range(len(names))))


def vocabulary_words(name_or_path: str) -> tuple[str, ...]:
    """Every word a bundled vocabulary or a names file knows: its spoken names, then their synonyms.

    Raises:
      InputError: as `load_vocabulary`.
    """
    spoken = load_vocabulary(name_or_path).spoken
    records = [] if name_or_path.endswith(".txt") else _read_records(name_or_path)
    return spoken + tuple(
        word for n, record in enumerate(records) for word in _synonyms(record, f"{name_or_path}, record {n}")
    )


def _synonyms(record: dict, where: str) -> list[str]:
    words = record.get("synonyms", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{where}: 'synonyms' is {spell(words)}; it must be a list of strings")
    for word in words:
        if odd_character(word):
            raise InputError(f"{where}: the synonym {spell(word)} holds {odd_character(word)}")
    return words


def _read_text(where: str) -> str:
    file = _bundled().get(where) or pathlib.Path(where)
    try:
        return read_text(file, limit=MAX_JSON_BYTES)
    except InputError as error:
        raise InputError(f"cannot read the names file {error}") from None


def _read_records(where: str) -> list:
    records = parse_json(_read_text(where), where)
    if isinstance(records, dict):
        records = records.get("categories")
    if not isinstance(records, list):
        raise InputError(f"{where} must hold a list of categories, or an object with that list under 'categories'")
    return records


def _from_records(records: list, name: str, where: str) -> Vocabulary:
    kept, ignore = [], []
    for index, record in enumerate(records):
        _check_record(record, f"{where}, record {index}")
        if record.get("ignore"):
            ignore.append(record["id"])
        else:
            kept.append(record)
    return _build(
        where,
        name=name,
        names=tuple(record["name"] for record in kept),
        is_thing=tuple(bool(record.get("isthing", 1)) for record in kept),
        ids=tuple(record["id"] for record in kept),
        ignore=tuple(ignore),
        texts=tuple(record.get("text", record["name"]) for record in kept),
    )


def _check_record(record, where: str) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{where}: {spell(record)} must be an object such as {{'id': 3, 'name': 'cat', 'isthing': 1}}")
    number = record.get("id")
    if type(number) is not int or not 0 <= number < 2**63:
        raise InputError(f"{where}: 'id' is {spell(number)}; it must be a whole number from 0, of 64 bits")
    for field in ("name", "text"):
        if not isinstance(record.get(field, "" if field == "name" else "-"), str):
            raise InputError(f"{where}: '{field}' is {spell(record[field])}; it must be a string")
    if not record.get("name", "").strip():
        raise InputError(f"{where}: 'name' is missing or empty (id {number})")
    if record.get("isthing", 1) not in (0, 1):
        raise InputError(f"{where}: 'isthing' is {spell(record['isthing'])}; it must be 1 (thing) or 0 (stuff)")
    if record.get("ignore", False) not in (0, 1):
        raise InputError(f"{where}: 'ignore' is {spell(record['ignore'])}; it must be true or false")


def _from_words(words: Sequence[str], name: str, where: str, unit: str) -> Vocabulary:
    names, is_thing = [], []
    for position, word in enumerate(words, start=1):
        spoken, colon, kind = (part.strip() for part in word.rpartition(":"))
        if not colon:
            spoken, kind = kind, "thing"
        if not spoken:
            raise InputError(f"{where}: {unit} {position} is empty; every {unit} must be a name")
        if kind not in _KINDS:
            raise InputError(f"{where}: '{word.strip()}' ends in ':{kind}'; write ':thing', ':stuff' or nothing")
        names.append(spoken)
        is_thing.append(_KINDS[kind])
    return _build(where, name=name, names=tuple(names), is_thing=tuple(is_thing), ids=tuple(range(len(names))))


def _build(where: str, **fields) -> Vocabulary:
    try:
        if fields.get("texts") == fields["names"]:
            fields["texts"] = ()
        return Vocabulary(**fields)
    except InputError as error:
        # The message of Vocabulary names the vocabulary; the user needs the file.
        raise InputError(f"{where}: {error}") from None
