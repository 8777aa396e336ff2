"""Loss and gradient of a large batch in parts, equal to those of the whole batch, for few devices.

Eq. 4 divides sums over the whole batch by counts over the whole batch (slots, matched targets), so the mean of the
parts' gradients would be a different gradient. The counts follow from the matching and have no gradient: a first
pass over the parts, forward only, matches and counts; a second one, forward and backward, adds up the gradients of
sums that are divided by the counts of the whole batch. Nothing is drawn or matched twice.

Memory is that of one part, the gradient's sum and the batch's images and targets. The cost is one more forward pass
of the model. Drop path and sampled cells are drawn per part, so with those a step in parts draws other numbers.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import Diagnostics, Part, Terms, decide_all
from dataseg_jax.objective.tasks import TaskTable
from dataseg_jax.training.sharding import AXES


def loss_and_gradient(
    forward: Callable[[dict, Batch, TaskTable, jax.Array], Part | Sequence[Part]],
    params: dict,
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh,
    key: jax.Array,
    parts: int,
    shardings,
) -> tuple[tuple[Float[Array, ""], tuple[Terms, Diagnostics]], dict]:
    """((loss, (terms, diagnostics)), gradient) of the batch, as `jax.value_and_grad` of the objective returns them.

    Args:
      forward: of parameters, a part, the table and the key of the part's random draws; called twice with the same.
      parts: k; every device's share of the batch is split into as many.
      shardings: of the parameters, and of the sum of gradients.
    """
    split = jax.tree.map(lambda x: _split(x, parts, mesh), batch)
    keys = jax.random.split(key, parts)

    def choose(part):
        batch, key = part
        terms, decisions, diagnostics = decide_all(
            forward(params, batch, table, key), batch, table, config, mesh, jax.random.fold_in(key, 1)
        )
        return terms.weights, decisions, diagnostics

    weights, decisions, counts = jax.lax.map(choose, (split, keys))
    weights, diagnostics = jax.tree.map(lambda x: x.sum(0), (weights, counts))

    def add(total, part):
        batch, key, decisions = part

        def loss_of(params):
            answers = forward(params, batch, table, key)
            terms, *_ = decide_all(answers, batch, table, config, decisions=decisions)
            return Terms(terms.sums, weights).loss(), terms.sums

        gradient, sums = jax.grad(loss_of, has_aux=True)(params)
        return place(jax.tree.map(jnp.add, total, gradient)), sums

    def place(tree):
        return jax.lax.with_sharding_constraint(tree, shardings)

    nothing = place(jax.tree.map(jnp.zeros_like, params))
    gradient, sums = jax.lax.scan(add, nothing, (split, keys, decisions))
    terms = Terms(jax.tree.map(lambda x: x.sum(0), sums), weights)
    return (terms.loss(), (terms, diagnostics)), gradient


def _split(x: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """[k b, ...] -> [k, b, ...], each device keeps its own images."""
    by_device = x.reshape(mesh.size, parts, -1, *x.shape[1:])
    split = jnp.swapaxes(by_device, 0, 1).reshape(parts, -1, *x.shape[1:])
    return jax.lax.with_sharding_constraint(split, NamedSharding(mesh, P(None, AXES)))
