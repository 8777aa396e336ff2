"""Frozen text embeddings as classifiers (paper 3.4)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.networks import dataset_specific

LOSSES = ("softmax", "focal")
PRIOR_LOGIT = math.log(0.01 / 0.99)  # RetinaNet's: without it all categories of all queries start at probability 1/2.
BACKGROUND_LOGIT = math.log(0.25 / 0.75)  # ours: Mask DINO answers with what is above .25.
MISSING_LOGIT = -1e9  # Class logit of categories that a row lacks; its softmax is exactly 0 in float32.


class TextClassifier(nn.Module):
    """Frozen text embeddings as classifiers, and one learnable background vector for all datasets (paper 3.4).

    logit_k = s (q . w_k), with w_k of unit norm, q the class embedding and s a learnable scalar.

    Attributes:
      loss: "softmax": of categories and background (DaTaSeg); "focal": each category is a yes-or-no question of its own
        (MQ-Former 3.3). Then s (q . w_k) has a learnable bias, which starts at log(.01 / .99), and the background's
        logit is a constant: a category is more likely than it where its probability is above .25.
    """

    initial_scale: float = 5.0  # ours: measured against 1 and 10 on small worlds.
    loss: str = "softmax"
    datasets: int = 0  # T, prompts (paper 4.7).

    @nn.compact
    def __call__(
        self,
        embedding: Float[Array, "b l n e"],
        classifiers: Float[Array, "b k e"],
        category_valid: Bool[Array, "b k"],
        task: Int[Array, " b"] | None = None,
    ) -> Float[Array, "b l n k1"]:
        """Class embeddings -> class logits, float32, background last; those of missing categories are -1e9."""
        embedding = embedding.astype(jnp.float32)
        # First, as in runs of before: the random numbers of a parameter go by the order in a module.
        if self.loss == "softmax":
            vector = self.param("background", _random_unit_vector, classifiers.shape[-1:])
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), ())
        if self.datasets:
            prompts = self.param("prompts", nn.initializers.zeros, (self.datasets, classifiers.shape[-1]))
            classifiers = dataset_specific.prompted(classifiers, prompts, task)
        logits = scale * jnp.einsum("blne,bke->blnk", embedding, classifiers)
        if self.loss == "focal":
            logits += self.param("bias", nn.initializers.constant(PRIOR_LOGIT), ())
            background = jnp.full_like(logits[..., :1], BACKGROUND_LOGIT)
        else:
            background = scale * (embedding @ vector)[..., None]
        logits = jnp.where(category_valid[:, None, None], logits, MISSING_LOGIT)
        return jnp.concatenate([logits, background], -1)


def _random_unit_vector(key, shape, dtype=jnp.float32):
    x = jax.random.normal(key, shape, dtype)
    return x / jnp.linalg.norm(x)
