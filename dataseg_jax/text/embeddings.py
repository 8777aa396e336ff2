"""Text embeddings: bundled ones that need neither download nor torch, and sentence-transformers for other words.

The text encoder is frozen and shared by all datasets (paper 3.4): what makes one set of weights work for every
vocabulary is that all category names live in one embedding space.
"""

import difflib
import functools
import importlib.resources
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError

# Text space -> file under text/embeddings, made by `python -m experiments.embed_text`.
SPACES = {"all-MiniLM-L6-v2": "all-MiniLM-L6-v2.npz"}

# Bundled words that an encoder has to place where the bundle does before its other vectors are believed.
_PROBES = ("person", "grass", "traffic light")


def embed(texts: Sequence[str], space: str = "all-MiniLM-L6-v2", encoder: str | None = None) -> np.ndarray:
    """Embeds category names in a text space.

    Upper and lower case, and blanks around a text, make no difference (the encoder is uncased). The names go to
    the encoder as they are, without a prompt template: it was trained on plain sentences.

    Args:
      texts: K category names as spoken, `vocabulary.spoken`.
      space: text space, a key of `SPACES`.
      encoder: model name or folder that sentence-transformers can open, for words that are not bundled. It must be
        the encoder of `space`.

    Returns:
      float32[K, E] of unit norm; E = 384 for all-MiniLM-L6-v2.

    Raises:
      InputError: no text, an unknown space, words that are not bundled while no encoder is given, an encoder that
        cannot be opened or that belongs to another space.
    """
    table, prompt = _bundle(space)
    keys = [_key(text) for text in texts]
    if not keys:
        raise InputError("no text to embed; give at least one category name")
    unknown = sorted({key for key in keys if key not in table})
    if unknown and encoder is None:
        raise InputError(_unknown_words(unknown, space, table))
    if unknown:
        vectors = encode([prompt.format(word) for word in (*_PROBES, *unknown)], encoder)
        _check_space(vectors[: len(_PROBES)], np.stack([table[word] for word in _PROBES]), space, encoder)
        table = table | dict(zip(unknown, vectors[len(_PROBES) :], strict=True))
    return np.stack([table[key] for key in keys])


def bundled_texts(space: str = "all-MiniLM-L6-v2") -> tuple[str, ...]:
    """The words, in lower case, whose embeddings come with the package.

    Raises:
      InputError: an unknown space.
    """
    return tuple(_bundle(space)[0])


def encode(texts: Sequence[str], encoder: str) -> np.ndarray:
    """Runs a sentence encoder (needs the extra `text`), on the CPU and in float32.

    Args:
      texts: K texts, given to the encoder as they are.
      encoder: model name or folder that sentence-transformers can open.

    Returns:
      float32[K, E] of unit norm.

    Raises:
      InputError: sentence-transformers is not installed, or cannot open the encoder.
    """
    try:
        import sentence_transformers
    except ImportError:
        raise InputError(
            f"the text encoder '{encoder}' needs sentence-transformers: pip install 'dataseg_jax[text]'"
        ) from None
    try:
        model = sentence_transformers.SentenceTransformer(str(encoder), device="cpu")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot open the text encoder '{encoder}' ({reason}); give a model name or folder") from None
    vectors = np.asarray(model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False), np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def dequantize(vectors: np.ndarray) -> np.ndarray:
    """int8[K, E] -> float32[K, E] of unit norm (the scale of a vector of known norm need not be stored)."""
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def quantize(vectors: np.ndarray) -> np.ndarray:
    """float[K, E] -> int8[K, E], each vector scaled to the full range; keeps a cosine above 0.9999."""
    return np.round(127 * vectors / np.abs(vectors).max(axis=-1, keepdims=True)).astype(np.int8)


@functools.cache
def _bundle(space: str) -> tuple[dict[str, np.ndarray], str]:
    """Word -> float32[E], and the prompt that the words were put into."""
    if space not in SPACES:
        raise InputError(f"no text space '{space}'; give one of {', '.join(SPACES)}")
    with (importlib.resources.files("dataseg_jax.text") / "embeddings" / SPACES[space]).open("rb") as file:
        stored = np.load(file)
        vectors = dequantize(stored["vectors"])
        return dict(zip(stored["texts"].tolist(), vectors, strict=True)), str(stored["prompt"])


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def _unknown_words(unknown: Sequence[str], space: str, table: dict) -> str:
    def one(word):
        near = difflib.get_close_matches(word, table, n=2)
        return f"'{word}' (near: {', '.join(near)})" if near else f"'{word}'"

    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    return (
        f"no bundled {space} embedding for {', '.join(one(word) for word in unknown[:8])}{more}; use bundled words, "
        f"or give the encoder of {space}: encoder=NAME_OR_FOLDER, text_encoder in a config "
        "(needs pip install 'dataseg_jax[text]')"
    )


def _check_space(got: np.ndarray, expected: np.ndarray, space: str, encoder: str) -> None:
    cosine = float((got * expected).sum(-1).min()) if got.shape == expected.shape else float("nan")
    if not cosine > 0.99:
        found = f"{got.shape[-1]}-d, not {expected.shape[-1]}-d" if cosine != cosine else f"cosine {cosine:.2f}"
        raise InputError(f"the encoder '{encoder}' does not make {space} embeddings ({found}); give the one that does")
