"""Which categories the class loss of an image counts, where not all were looked for in it: LVIS's federated loss.

Detic's and CenterNet2's: the categories of the targets and some others, drawn by the square root of the number of
images that show them, are counted, and all else is left out. APE trains LVIS so, with 50 categories.
"""

from collections.abc import Sequence

import numpy as np

from data.example import Example
from dataseg_jax.errors import InputError

MOST = 50  # ours: APE's and Detic's number of categories an image; MQ-Former states none.
POWER = 0.5  # ours: Detic's, of the number of images.


def sampling_weights(image_counts: Sequence[int]) -> np.ndarray:
    """How often each category is drawn as a negative, float64[K]: its number of images ** 0.5.

    Args:
      image_counts: K numbers, `Source.image_counts`.

    Raises:
      InputError: one is no number of at least 0, or all are 0.
    """
    counts = np.asarray(image_counts)
    if counts.ndim != 1 or counts.dtype.kind not in "iuf" or not np.isfinite(counts).all() or (counts < 0).any():
        raise InputError("image_counts must be a list of numbers of images, each 0 or more")
    if not counts.any():
        raise InputError("image_counts are all 0: no category occurs in any image")
    return counts**POWER


def known_categories(example: Example, weights: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Which categories the class loss of an image counts.

    Those that were looked for in the image, and up to `most` in all, others drawn without replacement. A category
    that is drawn is taken to be absent: it was not looked for, but most categories are in few images.

    Args:
      example: of a vocabulary of K categories.
      weights: float[K], at least 0: how often each is drawn. One of weight 0 never is.
      most: more are known only if more were looked for.
      rng: K numbers are drawn from it, whatever the example is.

    Returns:
      bool[K]; all True where all categories were looked for.
    """
    draws = rng.random(len(weights))
    if example.known is None:
        return np.ones(len(weights), bool)
    known = np.zeros(len(weights), bool)
    known[example.known] = True
    known[example.labels] = True
    # The smallest of exponential waiting times with these rates are a draw without replacement by these weights.
    open_ = np.flatnonzero(~known & (weights > 0))
    waiting = -np.log1p(-draws[open_]) / weights[open_]
    room = max(0, most - int(known.sum()))
    known[open_[np.argsort(waiting, kind="stable")[:room]]] = True
    return known
