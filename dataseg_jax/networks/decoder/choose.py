"""One mask of the four that answer a prompt (SAM 2, as released: best of three, and dynamic multimask)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.networks.decoder.two_way import Answers

# As released. The stability of a mask is the IoU of the masks at a logit above MARGIN and above -MARGIN.
MARGIN, STABLE = 0.05, 0.98
ABSENT = -1024.0  # The logit of the masks of an object that is not there.


def stability(logits: Float[Array, "*n y x"]) -> Float[Array, "*n"]:
    """Pixels above MARGIN over those above -MARGIN; 1 where there are none."""
    inner, outer = ((logits > cut).sum((-2, -1)).astype(jnp.float32) for cut in (MARGIN, -MARGIN))
    return jnp.where(outer > 0, inner / jnp.maximum(outer, 1), 1.0)


def best_of_three(answers: Answers) -> Int[Array, "b p"]:
    """Which of the four masks has the highest predicted IoU of the three to an ambiguous prompt."""
    return 1 + jnp.argmax(answers.iou[:, :, 1:], -1)


def single(answers: Answers) -> Int[Array, "b p"]:
    """Which of the four masks is a prompt's single answer: the first, or if that is not stable, the best of three."""
    return jnp.where(stability(answers.masks[:, :, 0]) < STABLE, best_of_three(answers), 0)


def choose(answers: Answers, multimask: Bool[Array, "b p"], dynamic: bool = True) -> Answers:
    """One answer for each prompt, K = 1: the best of three where `multimask` is true, the single one elsewhere.

    Without `dynamic` the single one is the first, stable or not. The token of a single answer is always the first one,
    also where its mask is another, as in the original.
    """
    best = best_of_three(answers)
    of_mask = jnp.where(multimask, best, single(answers) if dynamic else 0)[:, :, None]
    of_token = jnp.where(multimask, best, 0)[:, :, None]
    return answers.replace(
        masks=jnp.take_along_axis(answers.masks, of_mask[..., None, None], 2),
        iou=jnp.take_along_axis(answers.iou, of_mask, 2),
        tokens=jnp.take_along_axis(answers.tokens, of_token[..., None], 2),
    )


def without_absent(answers: Answers) -> Answers:
    """The answers in which all masks of an object that is not there are empty: its score is at most 0."""
    present = (answers.object_score > 0)[..., None, None, None]
    return answers.replace(masks=jnp.where(present, answers.masks, ABSENT))
