"""Denoising queries: targets with noise, in training alone, which teach the decoder to refine boxes before it has
learned to find any (DN-DETR, Mask DINO).

Each is a group of its own, so it merges with no other and answers for the target that it was made from. Those of one
repetition of the targets attend to each other, and no others see them. ours: their losses are normalised together with
those of the other queries; Mask DINO adds a loss of their own.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.primitives.gather import take_rows
from dataseg_jax.networks.types import KnownTargets, Queries

BOX_NOISE = 0.4  # Mask DINO's: a centre moves by up to so many half sides, and a side changes by so much of itself.
FLIPPED = 0.2  # Mask DINO's: probability of another category.


def repetitions(count: int, targets: int) -> int:
    """How often G targets are repeated to give about `count` queries, at least once."""
    return max(1, count // targets)


class DenoisingQueries(nn.Module):
    """Repetitions of G targets as queries: content of the category's text embedding, a box with noise."""

    count: int
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, known: KnownTargets, classifiers: Float[Array, "b k e"], category_valid: Bool[Array, "b k"], key
    ) -> Queries:
        """R repetitions of the targets -> R x G queries, of groups 1 to R x G."""
        g = known.labels.shape[1]
        r = repetitions(self.count, g)
        of_label, of_choice, of_box = jax.random.split(key, 3)
        labels, boxes, valid = (jnp.concatenate([x] * r, 1) for x in (known.labels, known.boxes, known.valid))
        others = jnp.where(category_valid, 0.0, -jnp.inf)[:, None]
        others = jax.random.categorical(of_choice, others, axis=-1, shape=labels.shape)
        labels = jnp.where(jax.random.uniform(of_label, labels.shape) < FLIPPED, others, labels)
        words = take_rows(classifiers, labels)
        content = nn.Dense(self.width, dtype=self.dtype, name="content")(words.astype(self.dtype))
        noise = BOX_NOISE * jax.random.uniform(of_box, boxes.shape, minval=-1, maxval=1)
        sides = boxes[..., 2:]
        boxes = jnp.clip(boxes + noise * jnp.concatenate([sides / 2, sides], -1), 0, 1)
        group = jnp.broadcast_to(1 + jnp.arange(r * g), labels.shape)
        return Queries(content, None, group=group, valid=valid, boxes=boxes, company=1 + (group - 1) // g)
