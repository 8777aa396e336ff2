"""Focal and dice loss of masks (paper 3.5, eq. 4), and the same as costs of the matching (eq. 5).

Everything is a mean or a ratio over valid pixels, computed in float32, and zero with a finite gradient where no pixel
is valid. `pairwise_*` are the same functions for every proposal against every target, as matrix products: focal is
linear in a soft target, and dice needs only one inner product.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.objective.terms.term import Prediction, Term, Truth, over_matched

ALPHA = 0.25  # Of focal loss; with GAMMA the values of [44] and MaskFormer.
GAMMA = 2.0


def _valid(pixel_valid, like):
    if pixel_valid is None:
        return jnp.ones(like.shape[-1:], jnp.float32)
    return pixel_valid.astype(jnp.float32)


def focal_parts(logits, alpha, gamma):
    """Focal loss of a logit whose target is 1 and of one whose target is 0."""
    logits = logits.astype(jnp.float32)
    p = jax.nn.sigmoid(logits)
    positive = alpha * (1 - p) ** gamma * jax.nn.softplus(-logits)
    negative = (1 - alpha) * p**gamma * jax.nn.softplus(logits)
    return positive, negative


def sigmoid_focal_loss(
    logits: Float[Array, "*a p"],
    targets: Float[Array, "*a p"],
    pixel_valid: Bool[Array, "*#a p"] | None = None,
    alpha: float = ALPHA,
    gamma: float = GAMMA,
) -> Float[Array, "*a"]:
    """Focal binary cross-entropy [44] with soft targets, mean over valid pixels.

    `t alpha (1-p)^gamma (-log p) + (1-t) (1-alpha) p^gamma (-log(1-p))`, linear in the target t in [0, 1].
    """
    valid = _valid(pixel_valid, logits)
    positive, negative = focal_parts(logits, alpha, gamma)
    targets = targets.astype(jnp.float32)
    loss = targets * positive + (1 - targets) * negative
    return (loss * valid).sum(-1) / jnp.maximum(valid.sum(-1), 1)


def dice_loss(
    logits: Float[Array, "*a p"], targets: Float[Array, "*a p"], pixel_valid: Bool[Array, "*#a p"] | None = None
) -> Float[Array, "*a"]:
    """Dice loss [48] on probabilities: `1 - (2 sum(p t) + 1) / (sum p + sum t + 1)` over valid pixels."""
    valid = _valid(pixel_valid, logits)
    p = jax.nn.sigmoid(logits.astype(jnp.float32)) * valid
    t = targets.astype(jnp.float32) * valid
    return dice_of_sums(2 * (p * t).sum(-1), p.sum(-1), t.sum(-1))


def dice_of_sums(twice_common, sum_p, sum_t):
    """Dice loss from 2 sum(p t), sum p and sum t, smoothed by one."""
    return 1 - (twice_common + 1) / (sum_p + sum_t + 1)


def pairwise_focal(
    logits: Float[Array, "*a n p"], targets: Float[Array, "*a g p"], pixel_valid: Bool[Array, "*#a p"]
) -> Float[Array, "*a n g"]:
    """`sigmoid_focal_loss` of every proposal against every target, as two matrix products."""
    valid = pixel_valid.astype(jnp.float32)
    positive, negative = focal_parts(logits, ALPHA, GAMMA)
    # Invalid pixels are zeroed in the targets, once for all decoder layers, and not in each layer's proposals.
    t = targets.astype(jnp.float32) * valid[..., None, :]
    # t (pos - neg) + neg
    total = jnp.einsum("...np,...gp->...ng", positive - negative, t)
    total += _sum_over(negative, valid)[..., None]
    return total / jnp.maximum(valid.sum(-1), 1)[..., None, None]


def pairwise_dice(
    probabilities: Float[Array, "*a n p"], targets: Float[Array, "*a g p"], pixel_valid: Bool[Array, "*#a p"] | None
) -> Float[Array, "*a n g"]:
    """The dice of `dice_loss` for every proposal against every target; takes probabilities, not logits."""
    p = probabilities.astype(jnp.float32)
    t = targets.astype(jnp.float32)
    if pixel_valid is None:
        sum_p = p.sum(-1)
    else:
        valid = pixel_valid.astype(jnp.float32)
        t, sum_p = t * valid[..., None, :], _sum_over(p, valid)
    common = jnp.einsum("...np,...gp->...ng", p, t)
    return dice_of_sums(2 * common, sum_p[..., :, None], t.sum(-1)[..., None, :])


def _sum_over(values: Float[Array, "*a n p"], valid: Float[Array, "*a p"]) -> Float[Array, "*a n"]:
    """Sums over valid pixels; a product, so that `values * valid` is never written out, at full precision."""
    return jnp.einsum("...np,...p->...n", values, valid, precision="highest")


def _pairs(matched: Prediction, truth: Truth):
    return matched.mask_logits, truth.masks, truth.pixel_valid[:, None]


def _focal_cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    return pairwise_focal(prediction.mask_logits, truth.masks, truth.pixel_valid)


def _dice_cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    return pairwise_dice(jax.nn.sigmoid(prediction.mask_logits), truth.masks, truth.pixel_valid)


FOCAL = Term(_focal_cost, over_matched(lambda *pair: sigmoid_focal_loss(*_pairs(*pair)), of=lambda truth: truth.seen))
DICE = Term(_dice_cost, over_matched(lambda *pair: dice_loss(*_pairs(*pair)), of=lambda truth: truth.seen))
