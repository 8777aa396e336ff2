"""Text: vocabularies (bundled, from a file, or typed) and the embeddings of category names."""

from dataseg_jax.text.embeddings import SPACES, bundled_texts, embed, width
from dataseg_jax.text.loading import (
    bundled_vocabularies,
    load_vocabulary,
    parse_vocabulary,
    phrase_vocabulary,
    vocabulary_words,
)
from dataseg_jax.text.span import in_span
from dataseg_jax.text.unknown import embed_or_draw
from dataseg_jax.text.vocabulary import Vocabulary

__all__ = [
    "SPACES",
    "Vocabulary",
    "bundled_texts",
    "bundled_vocabularies",
    "embed",
    "embed_or_draw",
    "in_span",
    "load_vocabulary",
    "parse_vocabulary",
    "phrase_vocabulary",
    "vocabulary_words",
    "width",
]
