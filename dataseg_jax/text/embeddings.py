"""Category names -> unit vectors in a text space: the classifiers of a dataset.

The text encoder is frozen and shared by all datasets (paper 3.4): what makes one set of weights work for every
vocabulary is that all category names live in one embedding space. A space has the name of its encoder.
"""

from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.text import sentences
from dataseg_jax.text.clip import embeddings
from dataseg_jax.text.clip.spaces import CLIP_SPACES
from dataseg_jax.text.sentences import BUNDLES

SPACES = (*BUNDLES, *CLIP_SPACES)


def embed(texts: Sequence[str], space: str = "all-MiniLM-L6-v2", encoder: str | None = None) -> np.ndarray:
    """Embeds category names in a text space.

    Upper and lower case, and blanks around a text, make no difference: the encoders are uncased.

    Args:
      texts: K category names as spoken, `vocabulary.spoken`.
      space: text space, one of `SPACES`, or the path of an .npz file of `experiments.embed_text`, which then
        holds all words that can be embedded.
      encoder: the encoder of that space. For all-MiniLM-L6-v2 a model name or folder that sentence-transformers can
        open, and only for words that are not bundled. For a CLIP space the file, folder or hub name of its weights;
        None is the space's own name on the hub. CLIP's vectors are kept on the disk, see `text/cache.py`.

    Returns:
      float32[K, E] of unit norm, E = `width(space)`.

    Raises:
      InputError: no text, an unknown space, an encoder that is needed and not given, cannot be opened or belongs to
        another space.
    """
    _check(space)
    names = [" ".join(text.lower().split()) for text in texts]
    if not names:
        raise InputError("no text to embed; give at least one category name")
    embed_names = embeddings.embed_names if space in CLIP_SPACES else sentences.embed_names
    return embed_names(names, space, encoder)


def width(space: str) -> int:
    """Length E of the vectors of a space; needs no encoder.

    Raises:
      InputError: an unknown space.
    """
    _check(space)
    if space in CLIP_SPACES:
        return CLIP_SPACES[space].projection
    return len(next(iter(sentences.bundle(space)[0].values())))


def bundled_texts(space: str = "all-MiniLM-L6-v2") -> tuple[str, ...]:
    """The words, in lower case, whose embeddings come with the package, or are in the file; none for a CLIP space.

    Raises:
      InputError: an unknown space.
    """
    _check(space)
    return () if space in CLIP_SPACES else tuple(sentences.bundle(space)[0])


def _check(space: str) -> None:
    if space not in BUNDLES and space not in CLIP_SPACES and not sentences.is_file(space):
        raise InputError(f"no text space '{space}'; give one of {', '.join(SPACES)}, or a file of embeddings (.npz)")
