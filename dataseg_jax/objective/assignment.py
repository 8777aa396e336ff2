"""Which slot answers for which target: the matching of all decoder layers of a batch (paper 3.2, eq. 5)."""

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int

from dataseg_jax.errors import InputError
from dataseg_jax.objective import matching, merge, points
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.layers import Layers, ObjectiveConfig, over_layers
from dataseg_jax.objective.tasks import Row


@flax.struct.dataclass
class Assignment:
    """The discrete choices of the objective, without a gradient. The weights of the terms follow from it alone."""

    cells: Int[Array, "b p"] | None  # That the losses see; None: all.
    slot: Int[Array, "b l n"]  # Of MERGE, for each proposal.
    proposal: Int[Array, "b l g"]  # The slot that answers for each target, -1: unmatched or not valid.
    replaced_costs: Int[Array, " l"]  # Non-finite costs of valid pairs that had to be replaced.
    valid: Bool[Array, "b n"] | None = None  # Of the proposals; None: all.
    conditional: Bool[Array, "b n"] | None = None  # Of the proposals; None: no one is.


def assign(
    layers: Layers,
    batch: Batch,
    rows: Row,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
) -> Assignment:
    """Matches slots to targets in every layer on its own, and draws the cells of the losses; no gradient.

    All layers and images are solved in one call, the batch axis outermost: one callback per step, sharded like the
    batch.

    Raises:
      InputError: `config.loss_points` without a key.
    """
    targets = batch.targets
    if config.loss_points:
        if key is None:
            raise InputError(f"objective: loss_points={config.loss_points} draws at random; give it a key")
        of_cost, of_loss = jax.random.split(key)
        known = targets.masks, targets.valid, batch.pixel_valid, config.loss_points
        layers = layers.at(points.draw_uniform(of_cost, *known))

    def cost(layer):
        return matching.matching_cost(layers.prediction(layer, detached=True), layers.truth, rows.cost_weights)

    costs = over_layers(cost, config.layers_at_once, jax.lax.stop_gradient(layers.arrays))
    costs = jnp.moveaxis(costs, 0, 1)
    slot_valid = merge.occupied(layers.slot, _per_layer(layers.valid))
    valid = jnp.broadcast_to(targets.valid[:, None], costs.shape[:2] + costs.shape[3:])
    allowed = _allowed(layers.group, targets, costs.shape)
    proposal = matching.match(costs, valid, slot_valid, config.solver, mesh, allowed)
    replaced = matching.count_replaced(costs, valid, slot_valid, allowed).sum(0)
    cells = None
    if config.loss_points:
        # The last layer's masks, the answer, choose for all.
        slots = jnp.arange(layers.slot.shape[-1])
        matched = (proposal[:, -1, None] == slots[:, None]).any(-1)
        cells = points.draw_uncertain(of_loss, lambda cells: layers.slot_logits(-1, cells), matched, *known)
    return Assignment(cells, layers.slot, proposal, replaced, layers.valid, layers.conditional)


def _per_layer(valid):
    return None if valid is None else valid[:, None]


def _allowed(group, targets, shape) -> Bool[Array, "b l n g"] | None:
    """Pairs of one group; None where all are in group 0."""
    if group is None and targets.group is None:
        return None
    batch, _, n, g = shape
    group = jnp.zeros((batch, n), jnp.int32) if group is None else group
    of_target = jnp.zeros((batch, g), jnp.int32) if targets.group is None else targets.group
    return jnp.broadcast_to((group[:, :, None] == of_target[:, None])[:, None], shape)
