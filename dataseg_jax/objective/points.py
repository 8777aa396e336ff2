"""Costs and mask losses on a sample of the stride-4 cells (after Mask2Former [8]), so that dense masks need not exist.

MERGE is pointwise in the cells, so it commutes with choosing some of them: an image's cells are drawn once, shared
by all its proposals, targets and decoder layers, and everything that is formed is [N, P] instead of [N, h, w].

Costs see cells drawn uniformly: the matching is not to depend on where unmatched proposals happen to have their edges.
Losses see cells drawn after it, most of them where a matched slot is uncertain. Both contain a cell of every target:
of an object of 1 to 4 cells a uniform sample misses all with probability .81 to .43 at 12,544 of 65,536.

Temporary memory of the objective and its gradient, by XLA's plan for a CPU, for each float32 image of 1024 x 1024
(N = G = 100, D = 256, 10 predictions): all cells 3.9 GiB, 12,544 cells 0.85 GiB; with `layers_at_once` 1, 0.35 and
0.25 GiB.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.primitives.gather import places, take_distinct
from dataseg_jax.networks.primitives.products import product

OVERSAMPLE = 3  # ours: Mask2Former's; candidates per cell that is kept.
UNCERTAIN = 0.75  # ours: Mask2Former's; share of the cells taken for their uncertainty, the rest at random.
_FORCED, _TAKEN, _INVALID = 2.0, -2.0, -1.0  # Beside the uniform draws in [0, 1) that cells are ordered by.


def draw_uniform(
    key: jax.Array,
    masks: UInt8[Array, "b g h w"],
    target_valid: Bool[Array, "b g"],
    pixel_valid: Bool[Array, "b h w"],
    count: int,
) -> Int[Array, "b p"]:
    """Draws P = min(count, h w) different cells per image, as indices into its flattened grid.

    One cell of each target comes first, the most covered; the rest is uniform over the valid cells. Invalid cells come
    last: an image with fewer than P valid ones gets all of those, and others that its validity mask takes out of every
    mean, so its losses are the dense ones.
    """
    uniform = _uniform(key, pixel_valid)
    _, cells = jax.lax.top_k(_with_targets(uniform, masks, target_valid), min(count, uniform.shape[1]))
    return cells


def draw_uncertain(
    key: jax.Array,
    mask_logits,
    matched: Bool[Array, "b n"],
    masks: UInt8[Array, "b g h w"],
    target_valid: Bool[Array, "b g"],
    pixel_valid: Bool[Array, "b h w"],
    count: int,
) -> Int[Array, "b p"]:
    """As `draw_uniform`, but most cells lie where a matched slot is uncertain.

    Of `OVERSAMPLE` times as many candidates, drawn uniformly from the valid cells, the most uncertain ones make up
    `UNCERTAIN` of the answer; the rest is as of `draw_uniform`, from the cells that are left. Uncertain is where some
    matched slot is near its edge: its smallest |logit| (ours: Mask2Former draws for every mask apart, which costs a
    gather of features each). Nothing here has a gradient.

    Args:
      mask_logits: cells int32[B, Q] -> the slots' mask logits there, float32[B, N, Q].
      matched: the slots that a target has; where an image has none, all of its cells are drawn uniformly.
    """
    cells = pixel_valid[0].size
    count = min(count, cells)
    uncertain_count = int(UNCERTAIN * count)
    first, second = (_uniform(k, pixel_valid) for k in jax.random.split(key))
    of_candidate, candidates = jax.lax.top_k(first, min(OVERSAMPLE * count, cells))
    logits = jax.lax.stop_gradient(mask_logits(candidates))
    nearness = jnp.where(matched[..., None], -jnp.abs(logits), -jnp.inf).max(1)
    nearness = jnp.where(of_candidate == _INVALID, -jnp.inf, nearness)
    _, best = jax.lax.top_k(nearness, uncertain_count)
    uncertain = jnp.take_along_axis(candidates, best, 1)
    taken = places(uncertain, cells) < uncertain_count
    order = jnp.where(taken, _TAKEN, _with_targets(second, masks, target_valid))
    _, rest = jax.lax.top_k(order, count - uncertain_count)
    return jnp.concatenate([uncertain, rest], 1)


def _uniform(key, pixel_valid) -> Float[Array, "b hw"]:
    """A uniform draw for every valid cell."""
    valid = pixel_valid.reshape(pixel_valid.shape[0], -1)
    return jnp.where(valid, jax.random.uniform(key, valid.shape), _INVALID)


def _with_targets(uniform, masks, target_valid) -> Float[Array, "b hw"]:
    """`uniform`, but larger than all others at the most covered valid cell of each target, a random one of several."""
    valid = uniform >= 0
    coverage = masks.reshape(*masks.shape[:2], -1).astype(jnp.float32) + uniform[:, None]
    coverage = jnp.where((masks.reshape(coverage.shape) > 0) & valid[:, None], coverage, -1.0)
    cell, some = jnp.argmax(coverage, -1), (coverage.max(-1) >= 0) & target_valid
    forced = ((cell[..., None] == jnp.arange(uniform.shape[1])) & some[..., None]).any(1)
    return jnp.where(forced, _FORCED, uniform)


def cell_features(features: Float[Array, "b h w d"], cells: Int[Array, "b p"] | None) -> Float[Array, "b p d"]:
    """Features at the cells, which are all different; None: at all of them, in order."""
    flat = features.reshape(features.shape[0], -1, features.shape[-1])
    return flat if cells is None else take_distinct(flat, cells)


def cell_values(maps: Float[Array, "b g h w"], cells: Int[Array, "b p"] | None) -> Float[Array, "b g p"]:
    """Values of maps at the cells; None: at all of them, in order."""
    flat = maps.reshape(*maps.shape[:2], -1)
    return flat if cells is None else jnp.take_along_axis(flat, cells[:, None], 2)


def mask_logits(mask_embedding: Float[Array, "b n d"], features: Float[Array, "b p d"]) -> Float[Array, "b n p"]:
    """Mask logits at the cells whose features are given, float32."""
    return product("bnd,bpd->bnp", mask_embedding, features)
