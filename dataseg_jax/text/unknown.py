"""Words that cannot be embedded, which a model is to learn nevertheless."""

import hashlib
import importlib.util
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.text.clip.spaces import CLIP_SPACES
from dataseg_jax.text.embeddings import bundled_texts, embed, width

# Text space -> its encoder, which sentence-transformers can open.
ENCODERS = {"all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2"}


def embed_or_draw(
    texts: Sequence[str], space: str = "all-MiniLM-L6-v2", encoder: str | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `embed`; words that are neither bundled nor can be encoded here get a direction of their own.

    The direction is drawn by the word, so it is the same in every run, and nearly at a right angle to all others: a
    model learns to answer with it as with a classifier's row, and no other word tells it anything. The encoder of the
    space is tried if none is given and sentence-transformers is installed.

    Returns:
      float32[K, E] of unit norm, and the words whose direction was drawn.

    Raises:
      InputError: as `embed`, but for words that are not bundled.
    """
    names = [" ".join(text.lower().split()) for text in texts]
    known = set() if space in CLIP_SPACES else set(bundled_texts(space))
    unknown = [name for name in names if name not in known]
    if space in CLIP_SPACES or not unknown or encoder:
        return embed(texts, space, encoder), ()
    if space in ENCODERS and importlib.util.find_spec("sentence_transformers"):
        try:
            return embed(texts, space, ENCODERS[space]), ()
        except InputError:
            pass  # It is not on this disk, and cannot be downloaded.
    size = width(space)
    vectors = [embed([name], space)[0] if name in known else _direction(name, size) for name in names]
    return np.stack(vectors), tuple(unknown)


def _direction(word: str, size: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    vector = np.random.Generator(np.random.PCG64(seed)).normal(size=size)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
