"""The four losses (paper 3.3, 3.5, eq. 3 and 4) and the costs they share with matching (eq. 5).

Everything is a mean or a ratio over valid pixels, computed in float32, and zero with a finite gradient
where no pixel is valid. `pairwise_*` are the same functions for every proposal against every target,
as matrix products: focal is linear in a soft target, and dice needs only one inner product.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ALPHA = 0.25  # Of focal loss; with GAMMA the values of [44] and MaskFormer.
GAMMA = 2.0
Projections = tuple[Float[Array, "*a w"], Float[Array, "*a h"]]


def _valid(pixel_valid, like):
    if pixel_valid is None:
        return jnp.ones(like.shape[-1:], jnp.float32)
    return pixel_valid.astype(jnp.float32)


def _focal_terms(logits, alpha, gamma):
    """Focal cost of a pixel whose target is 1 and of one whose target is 0."""
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
    positive, negative = _focal_terms(logits, alpha, gamma)
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
    return _dice(2 * (p * t).sum(-1), p.sum(-1), t.sum(-1))


def _dice(twice_common, sum_p, sum_t):
    return 1 - (twice_common + 1) / (sum_p + sum_t + 1)


def projections(
    probabilities: Float[Array, "*a h w"], pixel_valid: Bool[Array, "*#a h w"] | None = None
) -> Projections:
    """Maxima over rows (Proj_x) and over columns (Proj_y) of eq. 3; invalid cells count as 0."""
    probabilities = probabilities.astype(jnp.float32)
    if pixel_valid is not None:
        probabilities = jnp.where(pixel_valid, probabilities, 0.0)
    return probabilities.max(-2), probabilities.max(-1)


def projection_loss(
    mask_logits: Float[Array, "*a h w"],
    box_masks: Float[Array, "*a h w"],
    pixel_valid: Bool[Array, "*#a h w"] | None = None,
) -> Float[Array, "*a"]:
    """Eq. 3: dice between the projections of the predicted mask and of its ground-truth box, x plus y.

    The dice of `dice_loss` (ours: BoxInst and V-Net use the squared form). In float32, because ties of
    the maximum are common in bfloat16.
    """
    predicted = projections(jax.nn.sigmoid(mask_logits.astype(jnp.float32)), pixel_valid)
    return projection_dice(predicted, projections(box_masks, pixel_valid))


def projection_dice(predicted: Projections, boxes: Projections) -> Float[Array, "*a"]:
    """`projection_loss` of projections that are there already."""
    return sum(_dice(2 * (p * t).sum(-1), p.sum(-1), t.sum(-1)) for p, t in zip(predicted, boxes, strict=True))


def classification_loss(class_logits: Float[Array, "*a k1"], labels: Int[Array, "*a"]) -> Float[Array, "*a"]:
    """Cross-entropy L_ce of eq. 4 over a row's categories and background (index K), float32."""
    log_p = jax.nn.log_softmax(class_logits.astype(jnp.float32), -1)
    return -jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def pairwise_focal(
    logits: Float[Array, "*a n p"], targets: Float[Array, "*a g p"], pixel_valid: Bool[Array, "*#a p"]
) -> Float[Array, "*a n g"]:
    """`sigmoid_focal_loss` of every proposal against every target, as two matrix products."""
    valid = pixel_valid.astype(jnp.float32)
    positive, negative = _focal_terms(logits, ALPHA, GAMMA)
    # Invalid pixels are left out of the targets, which all decoder layers share, and not of every layer's proposals.
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
    return _dice(2 * common, sum_p[..., :, None], t.sum(-1)[..., None, :])


def _sum_over(values: Float[Array, "*a n p"], valid: Float[Array, "*a p"]) -> Float[Array, "*a n"]:
    """Sums over valid pixels; a product, so that `values * valid` is never written out, at full precision."""
    return jnp.einsum("...np,...p->...n", values, valid, precision="highest")


def pairwise_projection_dice(predicted: Projections, boxes: Projections) -> Float[Array, "*a n g"]:
    """`projection_dice` of every proposal against every target; projections [..., N, w or h] and [..., G, w or h]."""
    return sum(pairwise_dice(p, t, None) for p, t in zip(predicted, boxes, strict=True))
