"""What the words alone say: which of the asked words the text space takes for which trained name."""

from dataseg_jax.text import Vocabulary, embed


def nearest_names(
    trained: Vocabulary, asked: Vocabulary, space: str, encoder: str | None = None
) -> list[tuple[str, str, bool]]:
    """For every trained name the word nearest to it among those asked for, and whether it is the one of its category.

    No pixel is looked at: a model that learned the trained names perfectly would answer with these words.

    Args:
      trained: names of categories.
      asked: words for the same categories, in the same order.
      space, encoder: as `text.embed` takes them.
    """
    likeness = embed(trained.spoken, space, encoder) @ embed(asked.spoken, space, encoder).T
    nearest = likeness.argmax(1).tolist()
    return [
        (name, asked.spoken[k], k == own) for own, (name, k) in enumerate(zip(trained.spoken, nearest, strict=True))
    ]
