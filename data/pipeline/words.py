"""The words that an image brings along: some of its phrases, as the classifiers of a step (MQ-Former 3.3).

An object has several phrases, one of which is drawn each time. Beside them stand phrases that the image is known not to
show, and phrases of other images: they teach what to leave unanswered.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from data.example import Example
from data.pipeline.phrases import mirrored, normalised
from data.readers.phrases.flat import PhraseList, Shared, distinct
from data.source import Source


def phrases_of(source: Source, mirror: bool = False) -> PhraseList:
    """All phrases of a dataset, sorted, each once; `mirror`: and those of its mirrored images."""

    def every() -> Iterator[str]:
        for index in range(len(source)):
            record = source.record(index)
            for phrases in (*record.phrases, record.absent_phrases):
                for phrase in map(normalised, phrases):
                    yield phrase
                    if mirror:
                        yield mirrored(phrase)

    return distinct(every())


_TABLES = ("embeddings", "tokens")  # Of a book: the large arrays.


@dataclasses.dataclass(frozen=True, eq=False)
class PhraseBook:
    """The phrases of one dataset and their embeddings, or their tokens for a model that trains its text encoder.

    All processes that read share its memory.

    Attributes:
      texts: S phrases, each once, normalised; a tuple becomes a `PhraseList`.
      embeddings: float16[S, E], of unit norm; None: there are tokens.
      most: P, words of an image.
      negatives: how many of them, where there is room, are phrases of other images. They are taken to be absent, which
        some are not. ours: GLEE and APE take such phrases too, in other numbers.
      tokens: uint16[S, T].
    """

    texts: Sequence[str]
    embeddings: np.ndarray | None
    most: int
    negatives: int
    tokens: np.ndarray | None = None

    def __post_init__(self):
        texts = self.texts if isinstance(self.texts, PhraseList) else PhraseList(self.texts)
        tables = {key: None if getattr(self, key) is None else Shared(getattr(self, key)) for key in _TABLES}
        self._hold(texts, tables)

    def __getstate__(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("most", "negatives", "texts", "_tables")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for key in ("most", "negatives"):
            object.__setattr__(self, key, state[key])
        self._hold(state["texts"], state["_tables"])

    def _hold(self, texts: PhraseList, tables: dict[str, Shared | None]) -> None:
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "_tables", tables)
        for key, table in tables.items():
            object.__setattr__(self, key, None if table is None else table.array)

    def choose(self, example: Example, rng: np.random.Generator) -> tuple[Example, dict[str, np.ndarray]]:
        """The words of an image for one step.

        Targets without a phrase, and those for whose phrase there is no room, stop being targets.

        Returns:
          The example, whose labels are indices of the words; and words float16[P, E] or words_tokens uint16[P, T],
          words_valid bool[P], words_own.
        """
        described = [target for target, phrases in enumerate(example.phrases) if phrases]
        drawn = {}
        for target in rng.permutation(described).tolist() if described else []:
            phrases = example.phrases[target]
            drawn[target] = self.texts.number(normalised(phrases[rng.integers(len(phrases))]))
        words = list(dict.fromkeys(drawn.values()))[: self.most]
        kept = [target for target in described if drawn[target] in words]
        words += self._others(example, set(words), self.most - len(words), rng)

        place = {word: index for index, word in enumerate(words)}
        chosen = example.only(np.array(kept, np.int64))
        labels = np.array([place[drawn[target]] for target in kept], np.int32)
        return dataclasses.replace(chosen, labels=labels), self._wire(words)

    def empty(self) -> dict[str, np.ndarray]:
        """The same arrays of an image that has no words of its own."""
        return self._wire([]) | {"words_own": np.bool_(False)}

    def _others(self, example: Example, taken: set[int], room: int, rng: np.random.Generator) -> list[int]:
        """First phrases that the image is known not to show, then those of other images."""
        own = {self.texts.number(normalised(text)) for phrases in example.phrases for text in phrases}
        absent = sorted({self.texts.number(normalised(text)) for text in example.absent_phrases} - own - taken)
        absent = rng.permutation(absent).tolist()[:room] if absent else []
        of_others: list[int] = []
        wanted = min(self.negatives, room - len(absent))
        for word in rng.integers(len(self.texts), size=2 * wanted).tolist():
            if len(of_others) < wanted and word not in own and word not in absent and word not in of_others:
                of_others.append(word)
        return absent + of_others

    def _wire(self, words: list[int]) -> dict[str, np.ndarray]:
        key, table = ("words", self.embeddings) if self.tokens is None else ("words_tokens", self.tokens)
        rows = np.zeros((self.most, table.shape[1]), table.dtype)
        rows[: len(words)] = table[words]
        return {key: rows, "words_valid": np.arange(self.most) < len(words), "words_own": np.bool_(True)}
