"""What the text space alone says: which of the words used for prediction is nearest to each trained name."""

from collections.abc import Callable, Sequence

import numpy as np

from dataseg_jax.text import Vocabulary


def nearest_names(
    trained: Vocabulary, words: Vocabulary, embed: Callable[[Sequence[str]], np.ndarray]
) -> list[tuple[str, str, bool]]:
    """For every trained name the word nearest to it, and whether it is the word of its category.

    No image is used: a model that learned the trained names perfectly would predict these words.

    Args:
      trained: names of categories.
      words: for the same categories, in the same order.
      embed: K texts -> float32[K, E] of unit norm.
    """
    likeness = embed(trained.spoken) @ embed(words.spoken).T
    nearest = likeness.argmax(1).tolist()
    return [
        (name, words.spoken[k], k == own) for own, (name, k) in enumerate(zip(trained.spoken, nearest, strict=True))
    ]
