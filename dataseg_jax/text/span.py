"""Projects the vectors of new words onto the span of the words that a model was trained on.

A class logit is s ReLU(W q) . w (paper 3.4), so training only sees the part of a class embedding that lies in the span
of the trained words' vectors. Few words span few of the E directions, and the components of a new word's
vector along the others are multiplied by weights that no loss has constrained. With as many independent words as
directions the span is the whole space, and nothing changes.
"""

from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError

RANK_TOLERANCE = (
    1e-3  # ours: singular values below this share of the largest are rounding errors of the stored vectors.
)


def in_span(vectors: np.ndarray, trained: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """The nearest unit vectors among the combinations of the trained ones.

    Args:
      vectors: float32[K, E], any words of a text space.
      trained: float32[V, E], the words of that space that a model was trained on.
      texts: the K words, for errors.

    Returns:
      float32[K, E] of unit norm; vectors of trained words do not change.

    Raises:
      InputError: no trained word, or a word that has nothing in common with any of them.
    """
    if not len(trained):
        raise InputError("the model names no word that it was trained on, so new words have no span to lie in")
    _, sizes, directions = np.linalg.svd(np.asarray(trained, np.float64), full_matrices=False)
    directions = directions[sizes > RANK_TOLERANCE * sizes[0]]
    inside = np.asarray(vectors, np.float64) @ directions.T @ directions
    lengths = np.linalg.norm(inside, axis=1, keepdims=True)
    lost = np.flatnonzero(lengths[:, 0] < RANK_TOLERANCE)
    if len(lost):
        raise InputError(
            f"{texts[lost[0]]!r} has nothing in common with the words of training; leave it out, or in_span"
        )
    return (inside / lengths).astype(np.float32)
