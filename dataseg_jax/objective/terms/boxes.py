"""L1 and generalised IoU of boxes, as loss and as cost (MQ-Former eq. 1, after DETR).

Both compare boxes in fractions of an image's valid size, so that padding changes nothing.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.networks import boxes
from dataseg_jax.objective.terms.term import Prediction, Term, Truth, over_matched


def l1(a: Float[Array, "*a 4"], b: Float[Array, "*a 4"]) -> Float[Array, "*a"]:
    """The sum of the differences of centres and sizes."""
    return jnp.abs(a - b).sum(-1)


def giou_loss(a: Float[Array, "*a 4"], b: Float[Array, "*a 4"]) -> Float[Array, "*a"]:
    """1 - the generalised IoU of boxes given by centre and size."""
    return 1 - boxes.giou(boxes.to_corners(a), boxes.to_corners(b))


def _of_valid(prediction: Prediction, truth: Truth) -> Float[Array, "b n 4"]:
    """Predicted boxes as fractions of the valid size."""
    share = jnp.concatenate([truth.valid_share] * 2, -1)
    return prediction.boxes.astype(jnp.float32) / share[:, None]


def _term(distance) -> Term:
    def cost(prediction: Prediction, truth: Truth) -> Float[Array, "b n g"]:
        pairs = distance(_of_valid(prediction, truth)[:, :, None], truth.boxes[:, None])
        return jnp.where(truth.boxed[:, None], pairs, 0)

    def of_pairs(matched: Prediction, truth: Truth) -> Float[Array, "b g"]:
        return distance(_of_valid(matched, truth), truth.boxes)

    return Term(
        cost,
        over_matched(of_pairs, of=lambda truth: truth.boxed),
        applies=lambda prediction: prediction.boxes is not None,
    )


L1 = _term(l1)
GIOU = _term(giou_loss)
