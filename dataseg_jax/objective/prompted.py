"""The objective of answers to prompts (SAM, "Training"; SAM.md 1): the best of several candidates answers for a target.

Every prompt in every round is a matching problem of its own, of C candidates and one target: eq. 5 is the cost, and the
least cost is the match. So the terms are those of all proposals, of "images" with C proposals and one target. Nothing
merges, for a prompt names one object; and what is not the best candidate is no background. Rounds of videos are of a
frame each (SAM 2).
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.networks.types import Prompted
from dataseg_jax.objective import matching
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.tasks import Row, Weights
from dataseg_jax.objective.terms import TERMS
from dataseg_jax.objective.terms.term import Assigned, Prediction, Truth


@flax.struct.dataclass
class BestCandidate:
    """Which of its candidates answers for each prompt's target, in every round; no gradient."""

    candidate: Int[Array, "b r p"]


def choose(prompted: Prompted, batch: Batch, rows: Row) -> BestCandidate:
    """The candidate of the least cost (eq. 5)."""
    detached = jax.lax.stop_gradient(prompted)

    def of_round(answers):
        prediction, truth = _problems(detached, answers, batch, rows)
        prompts = detached.target.shape[1]
        weights = {name: jnp.repeat(weight, prompts) for name, weight in rows.cost_weights.items()}
        cost = matching.matching_cost(prediction, truth, weights)[..., 0]
        cost = jnp.where(jnp.isfinite(cost), cost, matching.LARGEST)
        return jnp.argmin(cost, -1).reshape(-1, prompts)

    return BestCandidate(jnp.moveaxis(jax.lax.map(of_round, _by_round(detached)), 0, 1))


def terms(prompted: Prompted, batch: Batch, rows: Row, best: BestCandidate) -> tuple[Weights, Weights]:
    """Weighted sum and weight of every term of eq. 4 that the answers have, in every round, {term: float32[R, B]}.

    In a round that is of a frame, the weight is the number of the clip's objects, whether they are seen there or not.
    """
    b, prompts = prompted.target.shape
    known = {name: rows.loss_weights[name] for name in TERMS}

    def of_round(answers, candidate):
        prediction, truth = _problems(prompted, answers, batch, rows)
        counted = prompted.valid if answers.counted is None else prompted.valid & answers.counted
        proposal = jnp.where(counted, candidate, -1).reshape(-1, 1)
        assigned = Assigned.of(proposal, prediction, background_weight=0.0)
        sums, counts = {}, {}
        for name, term in TERMS.items():
            # The projection is a term of boxes, of which no prompts are made.
            if name == "proj" or not term.applies(prediction):
                continue
            loss, weight = (x.reshape(b, prompts).sum(-1) for x in term.loss(prediction, truth, assigned))
            if answers.frame is not None:
                weight = prompted.valid.sum(-1) * answers.asked
            sums[name] = known[name] * loss
            counts[name] = weight * (known[name] > 0) if term.per_target else weight
        return sums, counts

    rounds = _by_round(prompted), jnp.moveaxis(best.candidate, 1, 0)
    return jax.lax.map(jax.checkpoint(lambda x: of_round(*x)), rounds)


@flax.struct.dataclass
class _Round:
    """The fields of `Prompted` that differ from round to round, of one of them."""

    masks: Float[Array, "b p c h w"]
    iou: Float[Array, "b p c"] | None
    object_score: Float[Array, "b p"] | None
    class_logits: Float[Array, "b p c k1"] | None
    frame: Int[Array, " b"] | None
    asked: Bool[Array, " b"] | None
    counted: Bool[Array, "b p"] | None


def _by_round(prompted: Prompted) -> _Round:
    parts = _Round(**{field.name: getattr(prompted, field.name) for field in dataclasses.fields(_Round)})
    return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), parts)


def _problems(prompted: Prompted, answers: _Round, batch: Batch, rows: Row) -> tuple[Prediction, Truth]:
    """One round as B x P problems of C candidates and one target each, on all cells."""
    prompts, candidates = answers.masks.shape[1:3]
    masks, valid = batch.targets.masks, batch.pixel_valid
    if answers.frame is not None:
        masks, valid = (
            jnp.take_along_axis(x, answers.frame.reshape(-1, *[1] * (x.ndim - 1)), 1)[:, 0]
            for x in (batch.clip.masks, batch.clip.pixel_valid)
        )

    def each(x):  # [B, P, ...] -> [B P, ...]
        return None if x is None else x.reshape(-1, *x.shape[2:])

    def per_prompt(x):  # [B, ...] -> [B P, ...]
        return None if x is None else jnp.repeat(x, prompts, 0)

    def of_target(x):  # [B, G, ...] -> [B P, 1, ...]
        index = prompted.target.reshape(*prompted.target.shape, *(1,) * (x.ndim - 2))
        return each(jnp.take_along_axis(x, index, 1))[:, None]

    pixel_valid = per_prompt(valid.reshape(len(valid), -1))
    target = of_target(masks).reshape(len(pixel_valid), 1, -1)
    nothing = jnp.zeros((len(pixel_valid), candidates, 1))
    score = answers.object_score
    prediction = Prediction(
        class_logits=each(answers.class_logits),
        mask_logits=each(answers.masks).reshape(len(pixel_valid), candidates, -1),
        valid=jnp.broadcast_to(prompted.valid.reshape(-1, 1), (len(pixel_valid), candidates)),
        projections=(nothing, nothing),
        iou=each(answers.iou),
        object_score=None if score is None else jnp.broadcast_to(each(score)[:, None], (len(pixel_valid), candidates)),
        independent=prompted.independent,
    )
    truth = Truth(
        labels=of_target(batch.targets.labels),
        masks=target.astype(jnp.float32) / 255,
        pixel_valid=pixel_valid,
        seen=((target > 0) & pixel_valid[:, None]).any(-1),
        box_projections=(nothing[:, :1], nothing[:, :1]),
        boxes=jnp.zeros((len(pixel_valid), 1, 4)),
        class_known=per_prompt(rows.class_known),
    )
    return prediction, truth
