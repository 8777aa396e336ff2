"""Frozen text embeddings as classifiers (paper 3.4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.networks import dataset_specific

MISSING_LOGIT = -1e9  # Class logit of categories that a row lacks; its softmax is exactly 0 in float32.


class TextClassifier(nn.Module):
    """Frozen text embeddings as classifiers, and one learnable background vector for all datasets (paper 3.4).

    logit_k = s (q . w_k), with w_k of unit norm, q the class embedding and s a learnable scalar.
    """

    initial_scale: float = 5.0  # ours: measured against 1 and 10 on small worlds.
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
        background = self.param("background", _random_unit_vector, classifiers.shape[-1:])
        scale = self.param("scale", nn.initializers.constant(self.initial_scale), ())
        if self.datasets:
            prompts = self.param("prompts", nn.initializers.zeros, (self.datasets, classifiers.shape[-1]))
            classifiers = dataset_specific.prompted(classifiers, prompts, task)
        logits = jnp.einsum("blne,bke->blnk", embedding, classifiers)
        logits = jnp.where(category_valid[:, None, None], scale * logits, MISSING_LOGIT)
        return jnp.concatenate([logits, scale * (embedding @ background)[..., None]], -1)


def _random_unit_vector(key, shape, dtype=jnp.float32):
    x = jax.random.normal(key, shape, dtype)
    return x / jnp.linalg.norm(x)
