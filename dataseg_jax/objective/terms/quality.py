"""The predicted quality of a mask: the error of its predicted IoU, squared (SAM, "Losses and training") or not (SAM 2).

Every candidate of a prompt learns it, not the best alone, since it is what chooses among them; SAM's text leaves it
open. ours: as in SAM 2's released code.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.objective.terms.term import Assigned, Prediction, Term, Truth


def mask_iou(
    logits: Float[Array, "*a n p"], targets: Float[Array, "*a g p"], valid: Float[Array, "*a p"]
) -> Float[Array, "*a n g"]:
    """IoU of masks, where logits are above 0, with targets, where at least half of a cell is covered; 0 if both are
    empty. Over the cells where `valid` is 1."""
    mask, target = ((x * valid[..., None, :]) for x in ((logits > 0).astype(jnp.float32), targets >= 0.5))
    common = jnp.einsum("...np,...gp->...ng", mask, target.astype(jnp.float32))
    union = mask.sum(-1)[..., :, None] + target.sum(-1)[..., None, :] - common
    return common / jnp.maximum(union, 1)


def _loss(
    distance, prediction: Prediction, truth: Truth, assigned: Assigned
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Of `distance`, over matched targets; where there is one target alone, the mean over all of its candidates."""
    valid = truth.pixel_valid.astype(jnp.float32)
    true = jax.lax.stop_gradient(mask_iou(prediction.mask_logits, truth.masks, valid))
    error = distance(prediction.iou.astype(jnp.float32)[..., None] - true)  # [B, N, G]
    if truth.labels.shape[1] == 1:
        of_target = error.mean(1)
    else:
        of_proposal = assigned.proposal[:, None] == jnp.arange(error.shape[1])[:, None]
        of_target = jnp.where(of_proposal, error, 0).sum(1)
    hit = assigned.hit & truth.seen
    return jnp.where(hit, of_target, 0).sum(-1), hit.sum(-1).astype(jnp.float32)


def _term(distance) -> Term:
    return Term(None, functools.partial(_loss, distance), applies=lambda prediction: prediction.iou is not None)


IOU, IOU_L1 = _term(jnp.square), _term(jnp.abs)
