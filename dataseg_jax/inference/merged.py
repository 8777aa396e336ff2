"""MERGE at inference, with the code of training, and the probabilities p(n, k) that all answers are computed from.

Every task of `tasks.TASKS` has three steps: `merge` does everything that needs no pixel; `tile` resizes the merged mask
*logits* to a tile of the image's own pixels and then takes sigmoids, slot by slot, so that no array is as large as all
masks of an image; `assemble` or `finish` does what depends on areas, since an image may be many tiles.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.objective.merge import MergedProposals, merge_proposals


def merge_with_p(
    class_logits: Float[Array, "b n k1"], mask_logits: Float[Array, "b n h w"], mergeable: Bool[Array, "*#b k"]
) -> tuple[MergedProposals, Float[Array, "b n k"]]:
    """MERGE, and p: the softmax over categories and background, without background; 0 in empty slots."""
    merged = merge_proposals(class_logits.astype(jnp.float32), mask_logits.astype(jnp.float32), mergeable)
    p = jax.nn.softmax(merged.class_logits, -1)[..., :-1]
    return merged, jnp.where(merged.valid[..., None], p, 0)
