"""Prompt templates: a name is embedded in several sentences, and their mean is its embedding."""

from collections.abc import Callable, Sequence

import numpy as np

# ours: the prompts of ViLD for objects in scenes, as fc-clip lists them (`VILD_PROMPT`). The paper only says that
# category names are given to the text encoder (3.4).
TEMPLATES = (
    "a photo of a {}.",
    "This is a photo of a {}",
    "There is a {} in the scene",
    "There is the {} in the scene",
    "a photo of a {} in the scene",
    "a photo of a small {}.",
    "a photo of a medium {}.",
    "a photo of a large {}.",
    "This is a photo of a small {}.",
    "This is a photo of a medium {}.",
    "This is a photo of a large {}.",
    "There is a small {} in the scene.",
    "There is a medium {} in the scene.",
    "There is a large {} in the scene.",
)


def embed_prompted(
    names: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray], templates: Sequence[str] = TEMPLATES
) -> np.ndarray:
    """The mean over templates of a name's embeddings, each of unit norm, brought to unit norm again.

    Args:
      names: K names; braces in a name are taken literally.
      encode: N texts -> float32[N, E] of unit norm.

    Returns:
      float32[K, E] of unit norm.
    """
    vectors = encode([template.replace("{}", name) for name in names for template in templates])
    means = vectors.reshape(len(names), len(templates), -1).mean(1)
    return means / np.linalg.norm(means, axis=-1, keepdims=True)
