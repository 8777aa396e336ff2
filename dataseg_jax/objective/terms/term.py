"""A term of the loss, and its inputs: one decoder layer's merged predictions, and the ground truth."""

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.networks.primitives.gather import take_rows

Projections = tuple[Float[Array, "*a w"], Float[Array, "*a h"]]


@flax.struct.dataclass
class Prediction:
    """One decoder layer after MERGE: N slots, P cells of the mask grid.

    Optional fields are `Proposals`' of the same name, those of the first member of each slot; None where the model
    does not predict them.
    """

    class_logits: Float[Array, "b n k1"] | None  # None: a model without words.
    mask_logits: Float[Array, "b n p"]
    valid: Bool[Array, "b n"]  # The slot exists.
    projections: Projections  # Of the dense masks' probabilities, [B, N, w] and [B, N, h].
    boxes: Float[Array, "b n 4"] | None = None
    iou: Float[Array, "b n"] | None = None
    object_score: Float[Array, "b n"] | None = None
    independent: bool = flax.struct.field(pytree_node=False, default=False)  # As in `Proposals`.


@flax.struct.dataclass
class Truth:
    """The targets of a batch, as inputs of the terms."""

    labels: Int[Array, "b g"]
    masks: Float[Array, "b g p"]  # Coverage in [0, 1], on the same cells as the prediction's.
    pixel_valid: Bool[Array, "b p"]
    seen: Bool[Array, "b g"]  # Some of these cells belong to the target.
    box_projections: Projections  # [B, G, w] and [B, G, h].
    boxes: Float[Array, "b g 4"]  # Centre and size as fractions of the valid size.
    # Valid width and height as fractions of the padded input's, and the targets whose box is supervised; for box terms.
    valid_share: Float[Array, "b 2"] | None = None
    boxed: Bool[Array, "b g"] | None = None
    class_known: Bool[Array, "b k"] | None = None  # As in `Row`; the labels' categories are always known.


@flax.struct.dataclass
class Assigned:
    """Which slot answers for which target, in one decoder layer, and what it predicts."""

    proposal: Int[Array, "b g"]  # -1: the target is unmatched or not valid.
    matched: Prediction  # Of each target's slot, [B, G, ...]; slot 0's where there is none.
    background_weight: float = flax.struct.field(pytree_node=False)

    @classmethod
    def of(cls, proposal: Int[Array, "b g"], prediction: Prediction, background_weight: float) -> "Assigned":
        """Gathers what the slots predict, once for all terms."""
        index = jnp.maximum(proposal, 0)
        return cls(proposal, jax.tree.map(lambda x: take_rows(x, index), prediction), background_weight)

    @property
    def hit(self) -> Bool[Array, "b g"]:
        """The targets that a slot answers for."""
        return self.proposal >= 0


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of eq. 4 and of eq. 5.

    Attributes:
      cost: (prediction, truth) -> float32[B, N, G], eq. 5; None: no part of the matching cost.
      loss: (prediction, truth, assigned) -> sum and weight over each image, float32[B] both. A batch's loss is
        the sum of all sums over the sum of all weights.
      per_target: the weight is the number of matched targets, and the loss is divided by at least one. False: the
        weight is the term's own, positive wherever an image has a slot.
      applies: whether a model that makes such predictions has this term; what it predicts is fixed when it is built.
    """

    cost: Callable[[Prediction, Truth], Float[Array, "b n g"]] | None
    loss: Callable[[Prediction, Truth, Assigned], tuple[Float[Array, " b"], Float[Array, " b"]]]
    per_target: bool = True
    applies: Callable[[Prediction], bool] = lambda prediction: True

    @property
    def least_weight(self) -> float:
        """The least divisor of the loss. The weights of existing slots never sum to less than 0.1."""
        return 1.0 if self.per_target else 1e-6


def over_matched(
    pair_loss: Callable[[Prediction, Truth], Float[Array, "b g"]],
    of: Callable[[Truth], Bool[Array, "b g"]] | None = None,
):
    """The `loss` of a term that is a loss of every matched pair: summed over them, weighted by their number.

    Args:
      pair_loss: (predictions of each target's slot, the truth) -> float32[B, G].
      of: the targets that the term is about; None: all. Masks are compared at the sampled cells, so a target that is in
        none of them is left out, since it could only train an empty mask.
    """

    def loss(prediction: Prediction, truth: Truth, assigned: Assigned):
        counted = assigned.hit if of is None else assigned.hit & of(truth)
        of_pairs = jnp.where(counted, pair_loss(assigned.matched, truth), 0).sum(-1)
        return of_pairs, counted.sum(-1).astype(jnp.float32)

    return loss
