"""From words to a vocabulary, and to the arrays of it that the network needs."""

import difflib
import os
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.forward import make_embed
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.text import (
    Vocabulary,
    bundled_texts,
    bundled_vocabularies,
    embed,
    in_span,
    load_vocabulary,
    parse_vocabulary,
)
from dataseg_jax.text.clip.tower import encode_tokens
from dataseg_jax.text.clip.trained import text_tokens

MOST_CACHED = 256  # Vocabularies.


class Vocabularies:
    """Finds vocabularies for a checkpoint; their embeddings and rows are cached."""

    def __init__(self, checkpoint: Checkpoint, text_encoder: str | None, in_span: bool, model: nn.Module):
        """Arguments as of `Predictor`. If the model trained its text encoder, that embeds all words, and `text_encoder`
        none.

        Raises:
          InputError: the model answers no words.
        """
        if not checkpoint.spec.has_queries:
            raise InputError("this model answers no words; use PromptPredictor, or VideoPredictor if it tracks")
        self._checkpoint, self._text_encoder, self._in_span = checkpoint, text_encoder, in_span
        self._trained, self._run, self._params = bool(checkpoint.spec.text), make_embed(model), None
        self._embeddings: dict[Vocabulary, np.ndarray] = {}
        self._rows: dict[tuple[Vocabulary, str], dict] = {}
        self._known: dict[str, np.ndarray] = {}

    def know(self, texts: Sequence[str], embeddings: np.ndarray) -> None:
        """Takes the embeddings [K, E] of these texts as they are, in place of a frozen encoder's."""
        self._known.update(zip(texts, embeddings, strict=True))

    def use(self, params) -> None:
        """Embeds with these parameters from now on, if the model trained its text encoder; forgets other vectors."""
        if self._trained:
            self._params = params
            self._embeddings.clear()
            self._rows.clear()

    def find(self, words: str | os.PathLike | Sequence[str] | Vocabulary) -> Vocabulary:
        """A dataset of the checkpoint, a bundled name, a names file, a list of words or "cat, dog, sky:stuff".

        Raises:
          InputError: an unknown name of a vocabulary; a names file that cannot be used; an empty or repeated word.
        """
        if isinstance(words, Vocabulary):
            return words
        if not isinstance(words, str | os.PathLike):
            return parse_vocabulary(words)
        words = os.fspath(words).strip()
        if words in self._checkpoint.vocabularies:
            return self._checkpoint.vocabularies[words]
        if words in bundled_vocabularies() or words.endswith((".json", ".txt")):
            return load_vocabulary(words)
        if "," not in words:
            self._refuse_misspelt(words)
        return parse_vocabulary(words)

    def _refuse_misspelt(self, word: str) -> None:
        """Raises InputError for a single word that looks like a misspelt name of a vocabulary."""
        names = [*self._checkpoint.vocabularies, *bundled_vocabularies()]
        near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
        known = word.lower().partition(":")[0].strip() in bundled_texts(self._checkpoint.text_space)
        # With an encoder any word is allowed, except one with an underscore.
        if "_" in word or (near and not known and self._text_encoder is None and not self._trained):
            hint = f"did you mean {' or '.join(repr(n) for n in near)}? or " if near else ""
            raise InputError(
                f"no vocabulary '{word}': {hint}give one of {', '.join(names)}, a names file (.json or .txt), or words "
                "with commas between"
            )

    def row(self, vocabulary: Vocabulary, task: str) -> dict[str, jax.Array]:
        """The arrays of a vocabulary and a task: classifiers [K, E], category_valid [K], mergeable [K]; cached.

        Raises:
          InputError: words without an embedding.
        """
        if (vocabulary, task) not in self._rows:
            if vocabulary not in self._embeddings:
                _make_room(self._embeddings)
                self._embeddings[vocabulary] = self._embed(vocabulary)
            _make_room(self._rows)
            is_thing = np.array(vocabulary.is_thing)
            one = Task(vocabulary.name, TASKS[task].kind, is_thing, self._embeddings[vocabulary], {})
            table = make_task_table([one])
            names = "classifiers", "category_valid", "mergeable"
            self._rows[vocabulary, task] = {name: jnp.asarray(getattr(table, name)[0]) for name in names}
        return self._rows[vocabulary, task]

    def _embed(self, vocabulary: Vocabulary) -> np.ndarray:
        """Text embeddings; the checkpoint's own for a vocabulary that it was trained on."""
        trained = self._checkpoint.vocabularies
        name = next((name for name, words in trained.items() if words == vocabulary), None)
        if name is not None:
            return self._of_training(name)
        if self._known and not self._trained and all(text in self._known for text in vocabulary.spoken):
            return np.stack([self._known[text] for text in vocabulary.spoken]).astype(np.float32)
        vectors = self.embed(vocabulary.spoken)
        if not self._in_span:
            return vectors
        known = [self._of_training(name) for name in trained]
        return in_span(vectors, np.concatenate(known) if known else vectors[:0], vocabulary.spoken)

    def _of_training(self, name: str) -> np.ndarray:
        """The embeddings of the vocabulary of a dataset that the checkpoint was trained on."""
        if self._trained:
            return self.embed(self._checkpoint.vocabularies[name].spoken)
        return np.asarray(self._checkpoint.classifiers[name])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32[K, E] of unit norm of any texts, by the checkpoint's own text encoder where it has one.

        Raises:
          InputError: words without an embedding.
        """
        if self._trained:
            params, width = {"text": self._params["text"]}, self._checkpoint.spec.text["projection"]
            tokens = text_tokens(texts).astype(np.int32)
            return encode_tokens(lambda chunk: self._run(params, chunk), tokens, width)
        return embed(texts, self._checkpoint.text_space, self._text_encoder)


def _make_room(cache: dict) -> None:
    """Drops the oldest entry of a full cache: images with phrases have a vocabulary each."""
    if len(cache) >= MOST_CACHED:
        del cache[next(iter(cache))]


def stacked(rows: Sequence[dict], batch: int) -> dict[str, jax.Array]:
    """The rows of images with a vocabulary each, padded to the largest and to `batch` images; `mergeable` is [K], since
    own words do not merge."""
    k = max(len(row["mergeable"]) for row in rows)

    def padded(name: str):
        arrays = [jnp.pad(row[name], ((0, k - len(row[name])), *[(0, 0)] * (row[name].ndim - 1))) for row in rows]
        return jnp.stack([*arrays, *[jnp.zeros_like(arrays[0])] * (batch - len(arrays))])

    return {"mergeable": jnp.zeros(k, bool)} | {name: padded(name) for name in ("classifiers", "category_valid")}
