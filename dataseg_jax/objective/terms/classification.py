"""Cross-entropy over a row's categories and background: L_ce of eq. 4, and -p of eq. 5."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dataseg_jax.objective.terms.term import Assigned, Prediction, Term, Truth


def classification_loss(class_logits: Float[Array, "*a k1"], labels: Int[Array, "*a"]) -> Float[Array, "*a"]:
    """Cross-entropy L_ce of eq. 4 over a row's categories and background (index K), float32."""
    log_p = jax.nn.log_softmax(class_logits.astype(jnp.float32), -1)
    return -jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def _cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
    p = jax.nn.softmax(prediction.class_logits.astype(jnp.float32), -1)
    return -jnp.take_along_axis(p, truth.labels[..., None, :], -1)


def _loss(prediction: Prediction, truth: Truth, assigned: Assigned) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Over the slots that exist; those that match no target are background, with its own weight."""
    n = prediction.valid.shape[-1]
    background = prediction.class_logits.shape[-1] - 1
    claims = jax.nn.one_hot(jnp.where(assigned.hit, assigned.proposal, n), n, dtype=jnp.int32)  # [B, G, N]
    claimed = claims.any(1)
    label = jnp.where(claimed, (claims * truth.labels[..., None]).sum(1), background)
    weight = jnp.where(claimed, 1.0, assigned.background_weight) * prediction.valid
    return (weight * classification_loss(prediction.class_logits, label)).sum(-1), weight.sum(-1)


CROSS_ENTROPY = Term(_cost, _loss, per_target=False)
