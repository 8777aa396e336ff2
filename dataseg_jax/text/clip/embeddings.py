"""Names embedded in a CLIP space: prompted, through the text tower, and kept on disk."""

from collections.abc import Sequence

import numpy as np

from dataseg_jax.io.weight_files import find_weights, fingerprint
from dataseg_jax.text.cache import Table
from dataseg_jax.text.clip.prompts import TEMPLATES, embed_prompted
from dataseg_jax.text.clip.spaces import CLIP_SPACES, ClipSpace

_VERSION = 1  # Of the computation; vectors cached by other versions are not used.


def embed_names(names: Sequence[str], space: str, encoder: str | None = None) -> np.ndarray:
    """Embeds names in a CLIP space: prompted, through the text tower, from the cache where they are known.

    Args:
      names: K names, in lower case and with single blanks (CLIP sees no difference).
      space: a key of `CLIP_SPACES`.
      encoder: file, folder or hub name of its weights; None: the space's own name on the hub.

    Returns:
      float32[K, E] of unit norm.

    Raises:
      InputError: no such weights, or those of another encoder.
    """
    spec = CLIP_SPACES[space]
    path = find_weights(encoder or spec.hub, "text_encoder")
    identity = {"space": space, "weights": fingerprint(path), "templates": TEMPLATES, "version": _VERSION}
    cached = Table(identity, spec.projection)
    table = cached.read()
    missing = sorted(set(names) - set(table))
    if missing:
        table |= dict(zip(missing, _run(missing, path, spec), strict=True))
        cached.write(table)
    return np.stack([table[name] for name in names])


def _run(names: Sequence[str], path, spec: ClipSpace) -> np.ndarray:
    # Imported here, because vocabularies and cached embeddings need no JAX.
    from dataseg_jax.text.clip.tower import TextTower, encode
    from dataseg_jax.text.clip.weights import load_params

    tower = TextTower(spec.width, spec.layers, spec.heads, spec.projection)
    params = load_params(path, spec)
    return embed_prompted(names, lambda texts: encode(tower, params, texts), TEMPLATES)
