"""What cost and loss see of the proposals: every decoder layer merged, on all cells of the mask grid or on a sample.

Arrays of all layers are kept as they are and a layer's `Prediction` is formed where it is needed, so that layers can be
handled together or a few at a time.
"""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.networks.boxes import to_centres
from dataseg_jax.networks.types import OPTIONAL, Proposals
from dataseg_jax.objective import merge, points, targets
from dataseg_jax.objective.batch import Batch
from dataseg_jax.objective.tasks import Row
from dataseg_jax.objective.terms.projection import projections
from dataseg_jax.objective.terms.term import Prediction, Projections, Truth


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
class Layers:
    """All decoder layers of a batch's proposals, ready for cost and loss, and the truth beside them."""

    arrays: tuple  # (class_logits, mask_embedding, slot, optional fields, projections), L outermost.
    features: Float[Array, "b p d"] | None  # At the cells of `at`.
    dense_features: Float[Array, "b h w d"]
    dense_masks: UInt8[Array, "b g h w"]
    pixel_valid: Bool[Array, "b h w"]
    boxes_only: Bool[Array, ""]  # Some image has weight on projections.
    truth: Truth
    slot: Int[Array, "b l n"]
    group: Int[Array, "b n"] | None
    valid: Bool[Array, "b n"] | None
    conditional: Bool[Array, "b n"] | None  # As in `Proposals`, and
    independent: bool = flax.struct.field(pytree_node=False)  # so is this.

    def at(self, cells: Int[Array, "b p"] | None) -> "Layers":
        """The same layers and truth on these cells; None: on all of them."""
        masks = points.cell_values(self.dense_masks, cells)
        pixel_valid = points.cell_values(self.pixel_valid[:, None], cells)[:, 0]
        truth = self.truth.replace(
            masks=masks.astype(jnp.float32) / 255,
            pixel_valid=pixel_valid,
            seen=((masks > 0) & pixel_valid[:, None]).any(-1),
        )
        return self.replace(features=points.cell_features(self.dense_features, cells), truth=truth)

    def slot_logits(self, layer: int, cells: Int[Array, "b p"]) -> Float[Array, "b n p"]:
        """The merged mask logits of one layer at some cells, without a gradient."""
        _, mask_embedding, slot, *_ = jax.tree.map(lambda x: x[layer], self.arrays)
        logits = points.mask_logits(mask_embedding, points.cell_features(self.dense_features, cells))
        return merge.merge_mask_logits(jax.lax.stop_gradient(logits), slot)

    def prediction(self, layer: tuple, detached: bool = False) -> Prediction:
        """What one layer of `arrays` predicts; `detached`: without a gradient to the features."""
        class_logits, mask_embedding, slot, optional, projected = layer
        features = jax.lax.stop_gradient(self.features) if detached else self.features
        m = merge.merge_into(slot, class_logits, points.mask_logits(mask_embedding, features), self.valid)
        if projected is None:
            projected = projections_if(self.boxes_only, self.pixel_valid, m.mask_logits)
        return Prediction(m.class_logits, m.mask_logits, m.valid, projected, **optional, independent=self.independent)

    def dense_projections(self, layer: tuple) -> Projections:
        """Projections of one layer's merged masks at all cells, for when the others are on a sample.

        Both MERGE and projections are maxima: so what is merged is [N, w] and [N, h], and merged masks need not exist.
        """
        _, mask_embedding, slot, *_ = layer
        logits = points.mask_logits(mask_embedding, points.cell_features(self.dense_features, None))
        projected = _project(self.pixel_valid, logits)
        return tuple(jax.nn.sigmoid(merge.merge_mask_logits(x, slot)) for x in projected)


def observe(proposals: Proposals, batch: Batch, rows: Row, config: ObjectiveConfig, slot=None) -> Layers:
    """Merges all layers, on all cells; `slot`, int32[B, L, N], where it is known already."""
    h, w = proposals.features.shape[1:3]
    if slot is None:
        slot = merge.merge_slots(
            proposals.class_logits,
            rows.mergeable[:, None],
            group=None if proposals.group is None else proposals.group[:, None],
            valid=None if proposals.valid is None else proposals.valid[:, None],
        )
    optional = {name: x for name in OPTIONAL if (x := getattr(proposals, name)) is not None}
    by_layer = proposals.class_logits, proposals.mask_embedding, slot, optional
    layers = Layers(
        arrays=(*jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), by_layer), None),
        features=None,
        dense_features=proposals.features,
        dense_masks=batch.targets.masks,
        pixel_valid=batch.pixel_valid,
        boxes_only=(rows.loss_weights["proj"] > 0).any() | (rows.cost_weights["proj"] > 0).any(),
        truth=Truth(
            labels=batch.targets.labels,
            masks=None,
            pixel_valid=None,
            seen=None,
            class_known=rows.class_known,
            box_projections=projections(targets.box_masks(batch.targets.boxes, h, w), batch.pixel_valid[:, None]),
            **_boxes(batch, rows),
        ),
        slot=slot,
        group=proposals.group,
        valid=proposals.valid,
        conditional=proposals.conditional,
        independent=proposals.independent,
    )
    if not config.loss_points:
        return layers.at(None)
    # Projections need the masks at all cells. With a sample those are formed for this alone, one layer at a time.
    one_by_one = lambda x: jax.lax.map(jax.checkpoint(layers.dense_projections), x)  # noqa: E731
    projected = _only_if(layers.boxes_only, one_by_one, layers.arrays)
    return layers.replace(arrays=(*layers.arrays[:-1], projected))


def _boxes(batch: Batch, rows: Row) -> dict[str, Array]:
    """The fields of `Truth` that are about boxes."""
    valid = batch.size[:, ::-1].astype(jnp.float32)  # Width and height.
    padded = jnp.array(batch.image.shape[2:0:-1], jnp.float32)
    fractions = batch.targets.boxes / jnp.concatenate([valid, valid], -1)[:, None]
    labels = batch.targets.labels
    boxed = jnp.ones(labels.shape, bool) if rows.boxed is None else jnp.take_along_axis(rows.boxed, labels, 1)
    return {"boxes": to_centres(fractions), "valid_share": valid / padded, "boxed": boxed}


def over_layers(fn, at_once: int, *layers):
    """Applies `fn` to every layer: all together, or a few at a time with rematerialisation."""
    if at_once == 0 or at_once >= jax.tree.leaves(layers)[0].shape[0]:
        return jax.vmap(fn)(*layers)
    return jax.lax.map(lambda xs: jax.checkpoint(fn)(*xs), layers, batch_size=at_once)


def _only_if(needed, fn, *operands):
    """`fn(*operands)`, or zeros of its shapes where no image has a use for it, as in most steps."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(fn, *operands))
    return jax.lax.cond(needed, fn, lambda *_: zeros, *operands)


def _project(pixel_valid, mask_logits) -> Projections:
    """Maxima over rows and columns of logits at all cells [B, N, h w]; the sigmoid is monotone and can follow."""
    dense = mask_logits.reshape(*mask_logits.shape[:2], *pixel_valid.shape[1:])
    dense = jnp.where(pixel_valid[:, None], dense, -jnp.inf)
    return dense.max(-2), dense.max(-1)


def _probabilities(pixel_valid, mask_logits) -> Projections:
    return jax.tree.map(jax.nn.sigmoid, _project(pixel_valid, mask_logits))


@jax.custom_vjp
def projections_if(
    needed: Bool[Array, ""], pixel_valid: Bool[Array, "b h w"], mask_logits: Float[Array, "b n p"]
) -> Projections:
    """Projections of the probabilities of masks at all cells, or zeros where no image has a use for them.

    Its gradient is written by hand: a `cond` hands all that its branches keep for the backward pass from one to the
    other, and so would write dense zeros in every step without boxes.
    """
    return _only_if(needed, _probabilities, pixel_valid, mask_logits)


def _forward(*operands):
    return projections_if(*operands), operands


def _backward(operands, gradient):
    needed, pixel_valid, mask_logits = operands

    def of_logits(mask_logits, gradient):
        return jax.vjp(lambda x: _probabilities(pixel_valid, x), mask_logits)[1](gradient)[0]

    return None, None, _only_if(needed, of_logits, mask_logits, gradient)


projections_if.defvjp(_forward, _backward)
