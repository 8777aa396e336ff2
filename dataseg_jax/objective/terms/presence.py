"""Whether the object of a prompt is in the image: binary cross-entropy of its score (SAM 2, "Occlusions").

SAM 2 learns it on the frames of videos, where objects are hidden; an object that was asked about on an image is there.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.objective.terms.term import Assigned, Prediction, Term, Truth


def _loss(prediction: Prediction, truth: Truth, assigned: Assigned) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Over all targets that were asked about, those that are not seen too."""
    score = assigned.matched.object_score.astype(jnp.float32)
    of_target = jax.nn.softplus(score) - score * truth.seen
    return (of_target * assigned.hit).sum(-1), assigned.hit.sum(-1).astype(jnp.float32)


PRESENCE = Term(None, _loss, applies=lambda prediction: prediction.object_score is not None)
