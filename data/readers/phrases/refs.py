"""The phrases of referring sets: refs(unc).p and its like, as pickles of Python 2 or as JSON."""

import os
from typing import Any, NamedTuple

from data.readers.coco.entries import malformed
from data.readers.table import check_id
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import integer, read_json, read_pickle, spell

# ours: several times what RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO have.
MAX_BYTES = 2**29
MAX_STEPS = 20_000_000  # Instructions of a pickle.
MAX_MEMBERS = 1000  # Annotations of one ref.
MAX_CHARACTERS = 2**28  # Of all phrases. A pickle of a few bytes can hold the same long text a billion times.
_NEEDS = "image_id, ann_id, split and sentences, each with a sent or raw"


class Ref(NamedTuple):
    """One entry: phrases, and what of an image they describe.

    Attributes:
      number: its place in the file, from 0.
      image_id: the image, of COCO.
      annotations: ids of the annotations that the phrases describe together; () where nothing of the image is meant.
      split: train, val, testA, ...
      phrases: in lower case and without space at their ends, in order; empty ones are left out.
      empty: how many are.
    """

    number: int
    image_id: int
    annotations: tuple[int, ...]
    split: str
    phrases: tuple[str, ...]
    empty: int

    @property
    def where(self) -> str:
        return f"ref number {self.number}"


def read_refs(path: str) -> list[Ref]:
    """All refs of a file, of all splits.

    A pickle is read as data (`dataseg_jax.io.untrusted.read_pickle`); what it names is neither looked up nor called.

    Args:
      path: a pickle, or the same content as .json.

    Raises:
      InputError: it cannot be read, has more than the bounds above, names a function or a class, is no list, or an
        entry lacks a field.
    """
    plain = path.endswith(".json")
    content = read_json(path, MAX_BYTES) if plain else read_pickle(path, MAX_BYTES, MAX_STEPS)
    if type(content) is not list:
        raise InputError(f"{path}: holds {_kind(content)}; it must be a list of refs")
    refs, budget = [], _Budget(MAX_CHARACTERS)
    for number, entry in enumerate(content):
        try:
            refs.append(_ref(number, entry, budget, repaired=not plain))
        except (KeyError, TypeError, ValueError, AttributeError, InputError) as error:
            if isinstance(error, InputError):
                raise InputError(f"{path}: ref number {number}: {error}") from error
            raise malformed(path, "ref", number, _NEEDS, error) from error
    return refs


def refs_of(path: str, split: str = "") -> list[Ref]:
    """The refs of one split; "" = the only one.

    Raises:
      InputError: as `read_refs`, or there is no such split, or there are several to choose from.
    """
    refs = read_refs(path)
    splits = list(dict.fromkeys(ref.split for ref in refs))
    listed = ", ".join(splits[:12]) + (", ..." if splits[12:] else "")
    if not splits:
        raise InputError(f"{path}: is an empty list, so there is nothing to read")
    if split and split not in splits:
        raise InputError(f"{path}: has no split {spell(split)}; it has {listed}")
    if not split and splits[1:]:
        raise InputError(f"{path}: has the splits {listed}; give one of them as split")
    return [ref for ref in refs if not split or ref.split == split]


def cleaned(phrase: str) -> str:
    """A phrase as it is used: in lower case, without space at its ends."""
    return phrase.strip().lower()


class _Budget:
    """What may still be read: the entries of a pickle may share one long text or list, which counts each time."""

    def __init__(self, most: int):
        self._left = most

    def take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise InputError(f"it and those before it have phrases of more than {MAX_CHARACTERS} characters")


def _ref(number: int, entry: Any, budget: _Budget, repaired: bool) -> Ref:
    image_id, sentences, split = check_id(entry["image_id"]), entry["sentences"], entry["split"]
    if type(sentences) is not list or type(split) is not str or not split or not split.isprintable():
        raise TypeError("its sentences are no list, or its split is no text")
    phrases = []
    for sentence in sentences:
        text = sentence["sent"] if "sent" in sentence else sentence["raw"]
        if type(text) is not str:
            raise TypeError(f"a sentence is {_kind(text)}, not a text")
        budget.take(len(text) + 1)
        phrases.append(cleaned(_repaired(text) if repaired else text))
    kept = tuple(filter(None, phrases))
    return Ref(number, image_id, _annotations(entry, budget), split, kept, len(phrases) - len(kept))


def _annotations(entry: Any, budget: _Budget) -> tuple[int, ...]:
    """As gRefCOCO has it: several annotations in a list, and for none no_target, or the id -1."""
    found = entry["ann_id"]
    found = found if type(found) is list else [found]
    budget.take(len(found) + 1)
    if entry.get("no_target") is True or found in ([], [-1]):
        return ()
    if len(found) > MAX_MEMBERS:
        raise ValueError(f"ann_id lists {len(found)} annotations, and may list up to {MAX_MEMBERS}")
    return tuple(dict.fromkeys(integer(value, "ann_id") for value in found))


def _repaired(text: str) -> str:
    """A text of Python 2, read byte by byte: where its bytes are UTF-8, they are meant so."""
    if text.isascii():
        return text
    try:
        return text.encode("latin1").decode("utf-8")
    except UnicodeError:
        return text


def _kind(value: object) -> str:
    return f"something of type {type(value).__name__}" if not isinstance(value, str) else spell(value)


def beside(path: str) -> str:
    """The annotations that belong to a file of refs: instances.json in the same folder."""
    return os.path.join(os.path.dirname(path), "instances.json")
