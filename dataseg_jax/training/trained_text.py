"""The words of a batch as vectors, by a text encoder that is trained with the rest (MQ-Former, supplement C).

The names of a dataset are encoded once per step, however many images have them, and those of datasets that are not in
the batch are not: a batch of one dataset costs K texts, padding included. Phrases are images' own, so they cost B x P
texts, in batches that have some. Every device encodes the names of all its images, and the phrases of its own. A step
in parts (`accumulation`) encodes the names once for every pass over every part.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from dataseg_jax.objective.batch import Batch, Words
from dataseg_jax.objective.tasks import TaskTable


def with_classifiers(model: nn.Module, params: dict, batch: Batch, table: TaskTable) -> tuple[Batch, TaskTable]:
    """The batch and the table with classifiers in place of tokens, zeros for datasets that are not in the batch.

    Activations of the encoder are computed again for the gradient. Without tokens both are returned as they are.
    """
    if table.tokens is None:
        return batch, table
    tasks, k, _ = table.tokens.shape

    @jax.checkpoint
    def embed(params, tokens, valid):
        vectors = model.apply({"params": params}, tokens, method="embed")
        return jnp.where(valid[:, None], vectors, 0.0)

    def if_there(there, params, tokens, valid):
        width = jax.eval_shape(embed, params, tokens, valid).shape[-1]
        return jax.lax.cond(there, embed, lambda *_: jnp.zeros((len(tokens), width)), params, tokens, valid)

    there = (batch.task == jnp.arange(tasks)[:, None]).any(1)
    # One after another: only in a loop is the branch that is not taken not computed.
    rows = (there, table.tokens, table.category_valid)
    table = table.replace(classifiers=jax.lax.map(lambda row: if_there(row[0], params, *row[1:]), rows), tokens=None)
    if batch.words is None:
        return batch, table
    words = batch.words
    tokens, valid = words.tokens.reshape(-1, words.tokens.shape[-1]), words.valid.reshape(-1)
    vectors = if_there(words.own.any(), params, tokens, valid)
    return batch.replace(words=Words(vectors.reshape(*words.valid.shape, -1), words.valid, words.own)), table
