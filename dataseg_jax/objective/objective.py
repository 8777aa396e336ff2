"""The training objective: MERGE, match, loss in every decoder layer (paper 3.2, 3.5, eq. 4).

Every layer merges with its own labels, matches on its own and is normalised on its own; the layers'
losses are summed. Sums and weights of the terms are kept apart, so that devices, accumulated batches
and datasets can be added up exactly.

MERGE, costs and mask losses are pointwise in the cells of the mask grid, so they run on all cells or on a sample
(`points`) alike. Only the projection needs dense masks, and only where an image of the batch has weight on it.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.objective import losses, matching, merge, points, targets
from dataseg_jax.tasks import TaskTable, Weights
from dataseg_jax.types import Batch, Matches, Proposals


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """How the objective is computed.

    Attributes:
      solver: of the matching, see `matching.match`.
      background_weight: of unmatched slots in the weighted mean of cross-entropy; 0.1 in MaskFormer [10].
      layers_at_once: decoder layers whose dense masks exist together; 0 = all. With fewer, they are formed
        layer by layer and again in the backward pass: less memory, more time.
      loss_points: P, cells per image that costs and mask losses are computed on; 0 = all, see `points`.
    """

    solver: str = "hungarian"
    background_weight: float = 0.1  # ours: MaskFormer's; the paper does not say.
    layers_at_once: int = 0
    loss_points: int = 0


@flax.struct.dataclass
class Terms:
    """Sums and weights of the four terms, per decoder layer and task, float32[L, T]; a loss is sum / weight."""

    sums: Weights
    weights: Weights

    def loss(self) -> Float[Array, ""]:
        """Eq. 4, summed over layers; normalised over all tasks of the batch together."""
        return self._normalised(lambda x: x.sum(-1)).sum()

    def loss_by_task(self) -> Float[Array, " t"]:
        """Eq. 4 for each task's images alone, 0 where there are none."""
        return self._normalised(lambda x: x).sum(0)

    def by_task(self) -> Weights:
        """Each term for each task's images alone, averaged over layers, [T]."""
        return jax.tree.map(lambda s, w: (s / jnp.maximum(w, 1e-6)).mean(0), self.sums, self.weights)

    def _normalised(self, reduce):
        s, w = jax.tree.map(reduce, (self.sums, self.weights))
        # The existing slots' weights never sum to less than 0.1; mask terms are per matched target, at least one.
        ce = s.ce / jnp.maximum(w.ce, 1e-6)
        return ce + sum(getattr(s, t) / jnp.maximum(getattr(w, t), 1.0) for t in ("focal", "dice", "proj"))


@flax.struct.dataclass
class Diagnostics:
    """Counts that tell whether training is healthy; [T] a task, of the last decoder layer."""

    images: Int[Array, " t"]
    targets: Int[Array, " t"]
    unmatched: Int[Array, " t"]  # Targets without a slot: more targets than slots after MERGE.
    slots: Int[Array, " t"]  # Slots left after MERGE.
    replaced_costs: Int[Array, ""]  # Non-finite costs of valid pairs, all layers.


@flax.struct.dataclass
class Decisions:
    """What the objective chooses; no gradient flows through it. The weights of the terms follow from it alone."""

    cells: Int[Array, "b p"] | None  # Of `points.draw_cells`; None: all.
    slot: Int[Array, "b l n"]  # Where MERGE puts each proposal.
    matches: Matches


def objective(
    proposals: Proposals,
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
) -> tuple[Float[Array, ""], tuple[Terms, Diagnostics]]:
    """The loss of a batch, its terms and diagnostics.

    Args:
      proposals: of all L decoder layers.
      table: the whole table; every image names its row.
      mesh: the devices that share the batch, for the host callback of the matching.
      key: of the random cells; needed with `config.loss_points`.

    Raises:
      InputError: `config.loss_points` without a key.
    """
    terms, decisions = decide(proposals, batch, table, config, mesh, key)
    return terms.loss(), (terms, diagnose(batch, table, decisions))


def decide(
    proposals: Proposals,
    batch: Batch,
    table: TaskTable,
    config: ObjectiveConfig,
    mesh: Mesh | None = None,
    key: jax.Array | None = None,
    decisions: Decisions | None = None,
) -> tuple[Terms, Decisions]:
    """`objective` before its sums are divided: the terms, and the decisions that they rest on.

    With `decisions` given, those hold, and nothing is drawn or matched: for a second pass over the same images.
    """
    rows = table.rows(batch.task)
    h, w = proposals.features.shape[1:3]
    if decisions is None:
        cells = _cells(proposals, batch, rows, config, key)
        slot = merge.merge_slots(proposals.class_logits, rows.mergeable[:, None])
    else:
        cells, slot = decisions.cells, decisions.slot
    truth = (
        batch.targets.labels,
        points.cell_values(batch.targets.masks, cells).astype(jnp.float32) / 255,
        losses.projections(targets.box_masks(batch.targets.boxes, h, w), batch.pixel_valid[:, None]),
        points.cell_values(batch.pixel_valid[:, None], cells)[:, 0],
    )
    features = points.cell_features(proposals.features, cells)
    layers = tuple(jnp.moveaxis(x, 1, 0) for x in (proposals.class_logits, proposals.mask_embedding, slot))
    boxes_only = (rows.loss_weights.proj > 0).any() | (rows.cost_weights.proj > 0).any()

    def project(mask_logits):
        dense = jax.nn.sigmoid(mask_logits.reshape(*mask_logits.shape[:2], h, w))
        return losses.projections(dense, batch.pixel_valid[:, None])

    def dense_projections(layer):
        logits = points.mask_logits(layer[1], points.cell_features(proposals.features, None))
        return project(merge.merge_mask_logits(logits, layer[2]))

    # Projections need the masks at all cells. With a sample those are formed for this alone, one layer at a time.
    projected = None
    if cells is not None:
        projected = _only_if(boxes_only, lambda x: jax.lax.map(jax.checkpoint(dense_projections), x), layers)

    def merged(features, class_logits, mask_embedding, slot, projected):
        m = merge.merge_into(slot, class_logits, points.mask_logits(mask_embedding, features))
        return m, _only_if(boxes_only, project, m.mask_logits) if projected is None else projected

    def cost(class_logits, mask_embedding, slot, projected):
        m, projected = merged(jax.lax.stop_gradient(features), class_logits, mask_embedding, slot, projected)
        return matching.matching_cost(m.class_logits, m.mask_logits, projected, *truth, rows.cost_weights)

    if decisions is None:
        costs = _over_layers(cost, config.layers_at_once, *jax.lax.stop_gradient((*layers, projected)))
        # All layers and images in one call, the batch axis outermost: one callback per step, sharded like the batch.
        costs, slot_valid = jnp.moveaxis(costs, 0, 1), merge.occupied(slot)
        valid = jnp.broadcast_to(batch.targets.valid[:, None], costs.shape[:2] + costs.shape[3:])
        matched = matching.match(costs, valid, slot_valid, config.solver, mesh)
        replaced = matching.count_replaced(costs, valid, slot_valid).sum(0)
        decisions = Decisions(cells, slot, Matches(matched, replaced))

    def terms(class_logits, mask_embedding, slot, projected, proposal):
        m, projected = merged(features, class_logits, mask_embedding, slot, projected)
        return image_terms(m, projected, proposal, *truth, rows.loss_weights, config.background_weight)

    proposal = jnp.moveaxis(decisions.matches.proposal, 1, 0)
    by_image = _over_layers(terms, config.layers_at_once, *layers, projected, proposal)
    tasks = table.category_valid.shape[0]
    return Terms(*jax.tree.map(lambda x: _add_up(x, batch.task, tasks), by_image)), decisions


def diagnose(batch: Batch, table: TaskTable, decisions: Decisions) -> Diagnostics:
    """The counts of a batch."""
    counts = (
        jnp.ones_like(batch.task),
        batch.targets.valid.sum(-1),
        (batch.targets.valid & (decisions.matches.proposal[:, -1] < 0)).sum(-1),
        merge.occupied(decisions.slot[:, -1]).sum(-1),
    )
    tasks = table.category_valid.shape[0]
    by_task = (_add_up(count[None].astype(jnp.int32), batch.task, tasks)[0] for count in counts)
    return Diagnostics(*by_task, decisions.matches.replaced_costs.sum())


def _only_if(needed, fn, operand):
    """`fn(operand)`, or zeros of its shapes where no image has a use for it, as in most steps."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, operand))
    return jax.lax.cond(needed, fn, lambda _: zeros, operand)


def _cells(proposals, batch, rows, config, key):
    """The cells that the losses see, int32[B, P]; None: all of them. The last layer's masks, the answer, choose."""
    if not config.loss_points:
        return None
    if key is None:
        raise InputError(f"objective: loss_points={config.loss_points} draws at random; give it a key")
    last = proposals.class_logits[:, -1], proposals.mask_embedding[:, -1], proposals.features
    return points.draw_cells(key, *last, rows.mergeable, batch.pixel_valid, config.loss_points)


def image_terms(
    merged, projections, proposal, labels, masks, boxes, pixel_valid, weights: Weights, background_weight: float
) -> tuple[Weights, Weights]:
    """Weighted sum and weight of every term of eq. 4 for each image [B], given one layer's matching.

    Args:
      merged: `MergedProposals` [B, N, P cells]; projections: of their dense masks, [B, N, w] and [B, N, h].
      proposal: int32[B, G], -1 = unmatched.
      labels int32[B, G], masks float32[B, G, P], boxes: projections [B, G, w] and [B, G, h], pixel_valid bool[B, P];
      weights: arrays [B].
    """
    n = merged.valid.shape[-1]
    hit = proposal >= 0
    index = jnp.maximum(proposal, 0)

    # Cross-entropy over the slots that exist; what no target claims is background.
    background = merged.class_logits.shape[-1] - 1
    claims = jax.nn.one_hot(jnp.where(hit, proposal, n), n, dtype=jnp.int32)  # [B, G, N]; an unmatched row is zeros.
    claimed = claims.any(1)
    label = jnp.where(claimed, (claims * labels[..., None]).sum(1), background)
    slot_weight = jnp.where(claimed, 1.0, background_weight) * merged.valid
    ce = (slot_weight * losses.classification_loss(merged.class_logits, label)).sum(-1)

    def of_matched(x):
        return jnp.take_along_axis(x, index[..., None], 1)  # [B, N, ...] -> [B, G, ...]

    pair = of_matched(merged.mask_logits), masks, pixel_valid[:, None]
    focal = jnp.where(hit, losses.sigmoid_focal_loss(*pair), 0).sum(-1)
    dice = jnp.where(hit, losses.dice_loss(*pair), 0).sum(-1)
    proj = jnp.where(hit, losses.projection_dice(jax.tree.map(of_matched, projections), boxes), 0).sum(-1)

    count = hit.sum(-1).astype(jnp.float32)
    sums = Weights(weights.ce * ce, weights.focal * focal, weights.dice * dice, weights.proj * proj)
    on = jax.tree.map(lambda weight: count * (weight > 0), weights)
    return sums, on.replace(ce=slot_weight.sum(-1))


def _over_layers(fn, at_once, *layers):
    """Applies `fn` to every layer: all together, or a few at a time with rematerialisation."""
    if at_once == 0 or at_once >= layers[0].shape[0]:
        return jax.vmap(fn)(*layers)
    return jax.lax.map(lambda xs: jax.checkpoint(fn)(*xs), layers, batch_size=at_once)


def _add_up(per_image, task, tasks):
    """[L, B] -> [L, T]."""
    return jax.vmap(lambda x: jax.ops.segment_sum(x, task, num_segments=tasks))(per_image)
