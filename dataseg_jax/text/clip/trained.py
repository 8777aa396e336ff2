"""Texts for a model that trains its text encoder: one prompt, and tokens in place of vectors."""

from collections.abc import Sequence

import numpy as np

from dataseg_jax.text.clip.tokenizer import tokenize

# ours: the first of CLIP's prompts, alone. A frozen tower averages 14 prompts, once; a step would have to run them all.
TEMPLATE = "a photo of a {}."
_MULTIPLE = 8  # Token counts are rounded up to it, so that like-sized sets of words share a program.


def text_tokens(texts: Sequence[str]) -> np.ndarray:
    """Names or phrases, prompted -> uint16[K, 77] tokens, see `tokenizer.tokenize`; braces are taken literally."""
    return tokenize([TEMPLATE.replace("{}", text) for text in texts]).astype(np.uint16)


def trimmed(tokens: np.ndarray) -> np.ndarray:
    """[K, 77] -> [K, S], cut after the end of the longest text; the tower's answers stay the same."""
    longest = int(tokens.argmax(-1).max(initial=0)) + 1
    return tokens[:, : -(-longest // _MULTIPLE) * _MULTIPLE]
