"""Dataset-specific queries, heads and prompts (paper 4.7, Table 5: a negative result; off by default).

The paper names the three kinds, says that they are lightweight and leaves their form to an appendix that is not
public. ours: T sets of learnable queries; T class heads and T mask heads; T prompts, vectors in the text space that are
added to every category's embedding before it is normalised again, in place of learnable words before the name, since
the text encoder is frozen and its embeddings are computed beforehand. All else is shared, the background vector too.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dataseg_jax.errors import InputError


def own(stacked: Float[Array, "t *a"], task: Int[Array, " b"] | None) -> Float[Array, "b *a"]:
    """The entry of each image's dataset.

    Raises:
      InputError: the model was called without `task`.
    """
    if task is None:
        raise InputError("this model has dataset-specific modules: give it task, the dataset's row for every image")
    return stacked[task]


def head(cls: type[nn.Module], datasets: int) -> type[nn.Module]:
    """The module class itself, or with `datasets` T > 0 one whose parameters have a leading axis T.

    Such a module sends every image through all T heads, [B, ...] -> [T, B, ...], for `kept` to choose from: the heads
    are small, and the program does not depend on the tasks of a batch.
    """
    if not datasets:
        return cls
    return nn.vmap(cls, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=datasets)


def kept(answers: Float[Array, "..."], datasets: int, task: Int[Array, " b"] | None) -> Float[Array, "b ..."]:
    """The answers of each image's own head."""
    return answers[task, jnp.arange(answers.shape[1])] if datasets else answers


def prompted(
    classifiers: Float[Array, "b k e"], prompts: Float[Array, "t e"], task: Int[Array, " b"] | None
) -> Float[Array, "b k e"]:
    """Class embeddings with their dataset's prompt, of unit norm; rows of missing categories have no meaning."""
    x = classifiers + own(prompts, task)[:, None]
    # Missing categories are zeros: the maximum keeps their gradient finite.
    return x / jnp.sqrt(jnp.maximum((x**2).sum(-1, keepdims=True), 1e-12))
