"""The words that an image brings along: some of its phrases, as the classifiers of a step (MQ-Former 3.3).

An object has several phrases, one of which is drawn each time. Beside them stand phrases that the image is known not to
show, and phrases of other images: they teach what to leave unanswered.
"""

import dataclasses

import numpy as np

from data.example import Example
from data.pipeline.phrases import mirrored, normalised
from data.source import Source


def phrases_of(source: Source, mirror: bool = False) -> tuple[str, ...]:
    """All phrases of a dataset, sorted, each once; `mirror`: and those of its mirrored images."""
    found: set[str] = set()
    for index in range(len(source)):
        record = source.record(index)
        for phrases in (*record.phrases, record.absent_phrases):
            found.update(map(normalised, phrases))
    if mirror:
        found.update([mirrored(phrase) for phrase in found])
    return tuple(sorted(found))


@dataclasses.dataclass(frozen=True, eq=False)
class PhraseBook:
    """The phrases of one dataset and their embeddings, or their tokens for a model that trains its text encoder.

    Attributes:
      texts: S phrases, each once, normalised.
      embeddings: float16[S, E], of unit norm; None: there are tokens.
      most: P, words of an image.
      negatives: how many of them, where there is room, are phrases of other images. They are taken to be absent, which
        some are not. ours: GLEE and APE take such phrases too, in other numbers.
      tokens: uint16[S, T].
    """

    texts: tuple[str, ...]
    embeddings: np.ndarray | None
    most: int
    negatives: int
    tokens: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "_number", {text: number for number, text in enumerate(self.texts)})

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
            drawn[target] = self._number[normalised(phrases[rng.integers(len(phrases))])]
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
        own = {self._number[normalised(text)] for phrases in example.phrases for text in phrases}
        absent = sorted({self._number[normalised(text)] for text in example.absent_phrases} - own - taken)
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
