"""Costs and mask losses on a sample of the stride-4 cells (after Mask2Former [8]), so that dense masks need not exist.

MERGE is pointwise in the cells, so it commutes with choosing some of them: an image's cells are drawn once, shared
by all its proposals, targets and decoder layers, and everything that is formed is [N, P] instead of [N, h, w].

Temporary memory of the objective and its gradient, by XLA's plan for a CPU, for each float32 image of 1024 x 1024
(N = G = 100, D = 256, 10 predictions): all cells 4.5 GiB, 12,544 cells 0.85 GiB; with `layers_at_once` 1, 0.42 and
0.32 GiB.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.objective import merge

OVERSAMPLE = 3  # ours: Mask2Former's; candidates a cell that is kept.
UNCERTAIN = 0.75  # ours: Mask2Former's; share of the cells taken for their uncertainty, the rest at random.


def draw_cells(
    key: jax.Array,
    class_logits: Float[Array, "b n k1"],
    mask_embedding: Float[Array, "b n d"],
    features: Float[Array, "b h w d"],
    mergeable: Bool[Array, "b k"],
    pixel_valid: Bool[Array, "b h w"],
    count: int,
) -> Int[Array, "b p"]:
    """Draws P = min(count, h w) different cells per image, as indices into its flattened grid.

    Of `OVERSAMPLE` times as many candidates, drawn uniformly from the valid cells, the most uncertain ones make up
    `UNCERTAIN` of the answer; the rest is drawn uniformly from all valid cells that are left. Uncertain is where some
    mask is near its edge: the smallest |logit| over the slots after MERGE (ours: Mask2Former draws for every mask
    apart, which costs a gather of features each). Nothing here has a gradient.

    Invalid cells come last: an image with fewer than P valid ones gets all of those, and others that its validity
    mask takes out of every mean, so its losses are the dense ones.

    Args:
      class_logits, mask_embedding: of one decoder layer.
    """
    class_logits, mask_embedding, features = jax.lax.stop_gradient((class_logits, mask_embedding, features))
    batch, cells = pixel_valid.shape[0], pixel_valid[0].size
    count = min(count, cells)
    uncertain_count = int(UNCERTAIN * count)
    valid = pixel_valid.reshape(batch, cells)
    first, second = (jax.random.uniform(k, valid.shape) for k in jax.random.split(key))

    _, candidates = jax.lax.top_k(jnp.where(valid, first, -1.0), min(OVERSAMPLE * count, cells))
    slot = merge.merge_slots(class_logits, mergeable)
    logits = merge.merge_mask_logits(mask_logits(mask_embedding, cell_features(features, candidates)), slot)
    exists = slot == jnp.arange(slot.shape[-1])
    nearness = jnp.where(exists[..., None], -jnp.abs(logits), -jnp.inf).max(1)
    nearness = jnp.where(jnp.take_along_axis(valid, candidates, 1), nearness, -jnp.inf)
    _, best = jax.lax.top_k(nearness, uncertain_count)
    uncertain = jnp.take_along_axis(candidates, best, 1)

    taken = jnp.zeros_like(valid).at[jnp.arange(batch)[:, None], uncertain].set(True)
    order = jnp.where(taken, -2.0, jnp.where(valid, second, -1.0))
    _, rest = jax.lax.top_k(order, count - uncertain_count)
    return jnp.concatenate([uncertain, rest], 1)


def cell_features(features: Float[Array, "b h w d"], cells: Int[Array, "b p"] | None) -> Float[Array, "b p d"]:
    """Features at the cells; None: at all of them, in order."""
    flat = features.reshape(features.shape[0], -1, features.shape[-1])
    return flat if cells is None else jnp.take_along_axis(flat, cells[..., None], 1)


def cell_values(maps: Float[Array, "b g h w"], cells: Int[Array, "b p"] | None) -> Float[Array, "b g p"]:
    """Values of maps at the cells; None: at all of them, in order."""
    flat = maps.reshape(*maps.shape[:2], -1)
    return flat if cells is None else jnp.take_along_axis(flat, cells[:, None], 2)


def mask_logits(mask_embedding: Float[Array, "b n d"], features: Float[Array, "b p d"]) -> Float[Array, "b n p"]:
    """Mask logits at the cells whose features are given, float32."""
    return jnp.einsum("bnd,bpd->bnp", mask_embedding, features, preferred_element_type=jnp.float32)
