"""Vocabularies: what the categories of a dataset are called, and which of them are countable."""

import dataclasses
from collections.abc import Sequence

from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Categories in a fixed order; index k here is column k of the class logits.

    Attributes:
      name: of the vocabulary, in configs, logs and results.
      names: K category names, as the dataset writes them ("floor-other-merged"); results carry these.
      is_thing: K flags, True for countable categories (things), False for stuff.
      ids: K ids as written in the dataset's files (COCO category ids, values of a label PNG, ...).
      ignore: values of a label PNG that mean void (no supervision).
      texts: K names as a person would say them ("floor"), where they differ from `names`; () means they do not.

    Raises:
      InputError: no category at all, fields of different lengths, an empty or repeated name, text or id,
        an id that is also ignored.
    """

    name: str
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    ids: tuple[int, ...]
    ignore: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()

    def __post_init__(self):
        where = f"vocabulary '{self.name}'"
        if not self.names:
            raise InputError(f"{where} has no category; it needs at least one")
        for field in ("is_thing", "ids", "texts"):
            size = len(getattr(self, field))
            if size != len(self.names) and not (field == "texts" and size == 0):
                raise InputError(f"{where} has {len(self.names)} names but {size} {field}; there must be one per name")
        for index, words in enumerate(zip(self.names, self.spoken, strict=True)):
            if not all(word.strip() for word in words):
                raise InputError(f"{where} has an empty name at position {index} (id {self.ids[index]})")
            if any("\ud800" <= c <= "\udfff" for word in words if not word.isascii() for c in word):
                raise InputError(f"{where} has a name with half a character at position {index} ({words[0]!r})")
        # Two categories with the same name would have the same classifier.
        for what, values in (("name", self.names), ("text", self.spoken), ("id", self.ids)):
            _refuse_repeated(where, what, values)
        both = sorted(set(self.ids) & set(self.ignore))
        if both:
            raise InputError(f"{where} both names and ignores id {both[0]}; it must do one of the two")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def spoken(self) -> tuple[str, ...]:
        """The K texts for the text encoder and for legends."""
        return self.texts or self.names


def _refuse_repeated(where: str, what: str, values: Sequence[str] | Sequence[int]) -> None:
    seen = set()
    for value in values:
        key = value.strip().lower() if isinstance(value, str) else value
        if key in seen:
            raise InputError(f"{where} has the {what} '{value}' twice; every {what} must occur once")
        seen.add(key)
