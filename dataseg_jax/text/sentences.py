"""The text spaces of sentence encoders: bundled embeddings, and sentence-transformers for words beyond them."""

import difflib
import functools
import importlib.resources
import pathlib
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.untrusted import boundary, read_array, read_arrays
from dataseg_jax.text.loading import load_vocabulary

# Text space -> file under text/embeddings, made by `python -m experiments.embed_text`.
BUNDLES = {"all-MiniLM-L6-v2": "all-MiniLM-L6-v2.npz"}

# Bundled words whose vectors an encoder must reproduce before its vectors of other words are used.
_PROBES = ("person", "grass", "traffic light")


def embed_names(names: Sequence[str], space: str, encoder: str | None = None) -> np.ndarray:
    """Embeds names in a space of `BUNDLES`: bundled ones from the package, others through the encoder.

    The names go to the encoder as they are, without a prompt template: it was trained on plain sentences.

    Args:
      names: K names, in lower case (the encoder is uncased) and with single blanks.
      space: a key of `BUNDLES`, or a file.
      encoder: model name or folder that sentence-transformers can open. It must be the encoder of `space`.

    Returns:
      float32[K, E] of unit norm; E = 384 for all-MiniLM-L6-v2.

    Raises:
      InputError: words that are not bundled while no encoder is given, an encoder that cannot be opened or that
        belongs to another space.
    """
    table, prompt = bundle(space)
    unknown = sorted({name for name in names if name not in table})
    if unknown and (encoder is None or is_file(space)):
        raise InputError(_unknown_words(unknown, space, table))
    if unknown:
        vectors = encode([prompt.format(word) for word in (*_PROBES, *unknown)], encoder)
        _check_space(vectors[: len(_PROBES)], np.stack([table[word] for word in _PROBES]), space, encoder)
        table = table | dict(zip(unknown, vectors[len(_PROBES) :], strict=True))
    return np.stack([table[name] for name in names])


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
    vectors = _opened(str(encoder), sentence_transformers.SentenceTransformer).encode(
        list(texts), normalize_embeddings=True, show_progress_bar=False
    )
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@functools.lru_cache(1)
def _opened(encoder: str, opener):
    try:
        return opener(encoder, device="cpu")
    except (OSError, ValueError) as error:
        what = f"cannot open the text encoder '{encoder}' ({first_line(error)})"
        raise InputError(f"{what}; give a model name or folder") from None


def dequantize(vectors: np.ndarray) -> np.ndarray:
    """int8[K, E] -> float32[K, E] of unit norm (the scale of a vector of known norm need not be stored)."""
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def quantize(vectors: np.ndarray) -> np.ndarray:
    """float[K, E] -> int8[K, E], each vector scaled to the full range; keeps a cosine above 0.9999."""
    return np.round(127 * vectors / np.abs(vectors).max(axis=-1, keepdims=True)).astype(np.int8)


def is_file(space: str) -> bool:
    """Whether a text space is a file of words and vectors, FILE.npz, or of vectors with a list of words beside it,
    FILE.npy@NAMES."""
    return space.endswith(".npz") or ".npy@" in space


@functools.cache
def bundle(space: str) -> tuple[dict[str, np.ndarray], str]:
    """The words of a bundled space or of a file -> float32[E] each, and the prompt that the words were put into.

    Raises:
      InputError: the file cannot be read, or was not written by `experiments.embed_text`.
    """
    bundled = importlib.resources.files("dataseg_jax.text") / "embeddings"
    if ".npy@" in space:
        return _rows(*space.rsplit("@", 1)), "{}"
    place = pathlib.Path(space) if is_file(space) else bundled / BUNDLES[space]
    try:
        with boundary(space):
            stored = read_arrays(place)
            texts, vectors, prompt = (stored[key] for key in ("texts", "vectors", "prompt"))
            if {texts.dtype.kind, prompt.dtype.kind} != {"U"} or (texts.ndim, vectors.ndim, prompt.ndim) != (1, 2, 0):
                raise InputError("it needs a list of texts, a vector for each, and a prompt")
            if vectors.dtype.kind not in "if" or not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
                raise InputError("a vector is zero or not finite")
            return dict(zip(texts.tolist(), dequantize(vectors), strict=True)), str(prompt)
    except InputError as error:
        raise InputError(f"{space}: no embeddings of experiments.embed_text ({first_line(error)})") from None


def _rows(file: str, names: str) -> dict[str, np.ndarray]:
    """The words of a vocabulary, as it writes and as it speaks them -> the rows of an array, in order."""
    vectors, vocabulary = read_array(file), load_vocabulary(names)
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) != len(vocabulary):
        what = f"{vectors.dtype}{list(vectors.shape)}"
        raise InputError(f"{file}: is {what}, and needs a vector for each of the {len(vocabulary)} names of {names}")
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise InputError(f"{file}: a vector is zero or not finite")
    table = {}
    for words in (vocabulary.names, vocabulary.spoken):
        cleaned = (" ".join(word.lower().split()) for word in words)
        table |= dict(zip(cleaned, dequantize(vectors), strict=True))
    return table


def _unknown_words(unknown: Sequence[str], space: str, table: dict) -> str:
    def one(word):
        near = difflib.get_close_matches(word, table, n=2)
        return f"'{word}' (near: {', '.join(near)})" if near else f"'{word}'"

    more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
    if is_file(space):
        return f"{space}: has no embedding for {', '.join(one(word) for word in unknown[:8])}{more}"
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
