"""Classes: cross-entropy over a row's categories and background (L_ce of eq. 4, and -p of eq. 5), or the focal loss of
every category on its own (MQ-Former eq. 1)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dataseg_jax.networks.text_classifier import MISSING_LOGIT
from dataseg_jax.objective.terms.masks import ALPHA, GAMMA, focal_parts
from dataseg_jax.objective.terms.term import Assigned, Prediction, Term, Truth


def classification_loss(class_logits: Float[Array, "*a k1"], labels: Int[Array, "*a"]) -> Float[Array, "*a"]:
    """Cross-entropy L_ce of eq. 4 over a row's categories and background (index K), float32."""
    log_p = jax.nn.log_softmax(class_logits.astype(jnp.float32), -1)
    of_label = labels[..., None] == jnp.arange(log_p.shape[-1])
    return -jnp.where(of_label, log_p, 0).sum(-1)  # A gather's gradient would be a scatter.


def _known_logits(prediction: Prediction, truth: Truth) -> Float[Array, "b n k1"]:
    """Class logits, float32; without the categories that were not looked for in the image, so that a softmax is over
    the others."""
    logits = prediction.class_logits.astype(jnp.float32)
    if truth.class_known is None:
        return logits
    with_background = jnp.pad(truth.class_known, ((0, 0), (0, 1)), constant_values=True)
    return jnp.where(with_background[:, None], logits, MISSING_LOGIT)


def _cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    p = jax.nn.softmax(_known_logits(prediction, truth), -1)
    return -jnp.take_along_axis(p, truth.labels[..., None, :], -1)


def _labels(prediction: Prediction, truth: Truth, assigned: Assigned, nothing: int):
    """The category of the target that each slot answers for, else `nothing`, and whether there is one, [B, N]."""
    n = prediction.valid.shape[-1]
    claims = jax.nn.one_hot(jnp.where(assigned.hit, assigned.proposal, n), n, dtype=jnp.int32)  # [B, G, N]
    claimed = claims.any(1)
    return jnp.where(claimed, (claims * truth.labels[..., None]).sum(1), nothing), claimed


def _loss(prediction: Prediction, truth: Truth, assigned: Assigned) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Over the slots that exist; those that match no target are background, with its own weight."""
    label, claimed = _labels(prediction, truth, assigned, prediction.class_logits.shape[-1] - 1)
    weight = jnp.where(claimed, 1.0, assigned.background_weight) * prediction.valid
    return (weight * classification_loss(_known_logits(prediction, truth), label)).sum(-1), weight.sum(-1)


def _applies(independent: bool):
    return lambda prediction: prediction.class_logits is not None and prediction.independent == independent


CROSS_ENTROPY = Term(_cost, _loss, per_target=False, applies=_applies(independent=False))


def _focal_cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    positive, negative = focal_parts(prediction.class_logits[..., :-1], ALPHA, GAMMA)
    return jnp.take_along_axis(positive - negative, truth.labels[..., None, :], -1)


def _focal_loss(prediction: Prediction, truth: Truth, assigned: Assigned):
    """Over all slots that exist and all known categories, weighted by the number of matched targets."""
    logits = prediction.class_logits[..., :-1]
    k = logits.shape[-1]
    label, _ = _labels(prediction, truth, assigned, k)
    positive, negative = focal_parts(logits, ALPHA, GAMMA)
    of_pair = jnp.where(jax.nn.one_hot(label, k, dtype=bool), positive, negative)
    if truth.class_known is not None:
        of_pair = jnp.where(truth.class_known[:, None], of_pair, 0)
    of_slot = of_pair.sum(-1)
    return (of_slot * prediction.valid).sum(-1), assigned.hit.sum(-1).astype(jnp.float32)


CLASS_FOCAL = Term(_focal_cost, _focal_loss, applies=_applies(independent=True))
