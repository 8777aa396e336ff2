"""One mask of the four that answer a prompt (SAM 2, as released: best of three, and dynamic multimask)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.decoder.two_way import Answers

# As released. The stability of a mask is the IoU of the masks at a logit above MARGIN and above -MARGIN.
MARGIN, STABLE = 0.05, 0.98
ABSENT = -1024.0  # The logit of the masks of an object that is not there.


def stability(logits: Float[Array, "*n y x"]) -> Float[Array, "*n"]:
    """Pixels above MARGIN over those above -MARGIN; 1 where there are none."""
    inner, outer = ((logits > cut).sum((-2, -1)).astype(jnp.float32) for cut in (MARGIN, -MARGIN))
    return jnp.where(outer > 0, inner / jnp.maximum(outer, 1), 1.0)


def choose(answers: Answers, multimask: Bool[Array, "b p"]) -> Answers:
    """One answer for each prompt, K = 1.

    Where `multimask` is true it is that of the highest predicted IoU among the three to an ambiguous prompt. Elsewhere
    it is the first token's, and if its mask is not stable, the best of the three again; the token stays the first one,
    as in the original.
    """
    best = 1 + jnp.argmax(answers.iou[:, :, 1:], -1)
    unstable = stability(answers.masks[:, :, 0]) < STABLE
    of_mask, of_token = (jnp.where(among_three, best, 0) for among_three in (multimask | unstable, multimask))
    index = of_mask[:, :, None]
    return answers.replace(
        masks=jnp.take_along_axis(answers.masks, index[..., None, None], 2),
        iou=jnp.take_along_axis(answers.iou, index, 2),
        tokens=jnp.take_along_axis(answers.tokens, of_token[:, :, None, None], 2),
    )


def without_absent(answers: Answers) -> Answers:
    """The answers in which all masks of an object that is not there are empty: its score is at most 0."""
    present = (answers.object_score > 0)[..., None, None, None]
    return answers.replace(masks=jnp.where(present, answers.masks, ABSENT))
