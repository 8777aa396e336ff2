"""The projection loss of masks that are supervised by boxes alone (paper 3.3, eq. 3), and as a cost (eq. 5)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.objective.terms.masks import dice_of_sums, pairwise_dice
from dataseg_jax.objective.terms.term import Prediction, Projections, Term, Truth, over_matched


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
    """`projection_loss` of projections that are computed already."""
    return sum(dice_of_sums(2 * (p * t).sum(-1), p.sum(-1), t.sum(-1)) for p, t in zip(predicted, boxes, strict=True))


def pairwise_projection_dice(predicted: Projections, boxes: Projections) -> Float[Array, "*a n g"]:
    """`projection_dice` of every proposal against every target; projections [..., N, w or h] and [..., G, w or h]."""
    return sum(pairwise_dice(p, t, None) for p, t in zip(predicted, boxes, strict=True))


def _cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    return pairwise_projection_dice(prediction.projections, truth.box_projections)


def _loss_of_pairs(matched: Prediction, truth: Truth) -> Float[Array, "b g"]:
    return projection_dice(matched.projections, truth.box_projections)


PROJECTION = Term(_cost, over_matched(_loss_of_pairs))
