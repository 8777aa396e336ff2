"""What the text space alone says: which of the words used for prediction is nearest to each trained name."""

from dataseg_jax.text import Vocabulary, embed


def nearest_names(
    trained: Vocabulary, words: Vocabulary, space: str, encoder: str | None = None
) -> list[tuple[str, str, bool]]:
    """For every trained name the word nearest to it, and whether it is the word of its category.

    No image is used: a model that learned the trained names perfectly would predict these words.

    Args:
      trained: names of categories.
      words: for the same categories, in the same order.
      space, encoder: as `text.embed` takes them.
    """
    likeness = embed(trained.spoken, space, encoder) @ embed(words.spoken, space, encoder).T
    nearest = likeness.argmax(1).tolist()
    return [
        (name, words.spoken[k], k == own) for own, (name, k) in enumerate(zip(trained.spoken, nearest, strict=True))
    ]
