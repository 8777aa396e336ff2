"""Merged proposals, and what they say about a window of one image: the steps that all answers are made of.

`*_slots` merges, with the very code of training, and does all that needs no pixel. `*_window` resizes the merged mask
*logits* to a window of the image's own pixels and only then takes sigmoids, slot by slot, so that no array is as
large as all masks of an image. What depends on areas comes last (`panoptic_valid`, `instance_order`), since an image
may be many windows. The rules are told in `postprocess.py`.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.inference import tiles
from dataseg_jax.inference.tiles import Axis, for_each, sample
from dataseg_jax.objective.merge import MergedProposals, merge_proposals

_ROWS = 16  # Image rows scored at once by `semantic`: K = 1216 maps of a whole window would fill the memory.
_CHUNK = 16  # Slots of `semantic` summed in one product.
_MISSING = -5e8  # Between any real class logit and the -1e9 of a missing category.


@flax.struct.dataclass
class PanopticSlots:
    """Merged proposals of a batch; of one image without the leading axis."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]  # False: united with another slot.
    labels: Int[Array, "b n"]  # Category index; -1 = background or an empty slot.
    scores: Float[Array, "b n"]  # p of that label, 0 where it is -1.
    candidate: Bool[Array, "b n"]


@flax.struct.dataclass
class SemanticSlots:
    """Merged proposals of a batch; of one image without the leading axis."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]
    p: Float[Array, "b n k"]
    category: Bool[Array, "b k"]  # The categories that the vocabulary has.


@flax.struct.dataclass
class InstanceSlots:
    """Merged proposals of a batch and the pairs of slot and category that answer; of one image without `b`."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]
    slot: Int[Array, "b k"]
    labels: Int[Array, "b k"]
    p: Float[Array, "b k"]
    chosen: Bool[Array, "b n"]  # Slots of a pair with p > 0.


def panoptic_slots(class_logits, mask_logits, mergeable, score_threshold) -> PanopticSlots:
    """MERGE and candidates; arguments as of `panoptic`."""
    merged, p = _merge(class_logits, mask_logits, mergeable)
    labels, scores = _labels(merged, p)
    return PanopticSlots(merged.mask_logits, merged.valid, labels, scores, (labels >= 0) & (scores > score_threshold))


def panoptic_window(
    slots: PanopticSlots, rows: Axis, columns: Axis
) -> tuple[Int[Array, "t u"], Int[Array, " n"], Int[Array, " n"]]:
    """In a window of one image: slot + 1 of the owner of each pixel (0 = none), pixels that each slot owns, and
    pixels where its mask is >= .5."""
    image = tiles.inside(rows, columns)
    # What p >= .5 of a mask weighs at least. Who stays below it here owns nothing, nor keeps an owner away.
    least = 0.5 * jnp.min(jnp.where(slots.candidate, slots.scores, 1))

    def compete(n, state):
        reach = slots.scores[n] * jax.nn.sigmoid(tiles.peak(slots.masks[n], rows, columns))
        return jax.lax.cond(reach < least, lambda n, state: state, weigh, n, state)

    def weigh(n, state):
        best, owner, area = state
        mask = sample(slots.masks[n], rows, columns)
        inside = (mask >= 0) & image  # sigmoid >= .5
        weighted = slots.scores[n] * jax.nn.sigmoid(mask)
        wins = weighted > best
        # The winner of a pixel that is not inside its own mask keeps others away all the same.
        owner = jnp.where(wins, jnp.where(inside, n + 1, 0), owner)
        return jnp.where(wins, weighted, best), owner, area.at[n].set(inside.sum())

    none = jnp.zeros(slots.labels.shape, jnp.int32)
    start = jnp.full(image.shape, -1.0), jnp.zeros(image.shape, jnp.int32), none
    _, owner, area = for_each(slots.candidate, compete, start)
    owned = for_each(slots.candidate & (area > 0), lambda n, owned: owned.at[n].set((owner == n + 1).sum()), none)
    return owner, owned, area


def panoptic_valid(owned, area, overlap_threshold) -> Bool[Array, " n"]:
    """Which slots stay, by their pixels in all windows of an image; numpy in, numpy out."""
    # Divided: a product of the threshold would round, and 7 of 10 would not be 0.7.
    return (owned > 0) & (owned / (area + (area == 0)) >= overlap_threshold)


def semantic_slots(class_logits, mask_logits, mergeable=None) -> SemanticSlots:
    """MERGE and p; arguments as of `semantic`."""
    if mergeable is None:
        mergeable = jnp.ones(class_logits.shape[-1] - 1, bool)
    merged, p = _merge(class_logits, mask_logits, mergeable)
    category = (merged.valid[..., None] & (merged.class_logits[..., :-1] > _MISSING)).any(1)
    return SemanticSlots(merged.mask_logits, merged.valid, p, category)


def semantic_window(slots: SemanticSlots, rows: Axis, columns: Axis) -> Int[Array, "t u"]:
    """The category of every pixel in a window of one image."""
    # Slots that MERGE emptied go last, and the sum stops before them.
    order = jnp.argsort(~slots.exists, stable=True)
    pad = -len(order) % _CHUNK
    p = jnp.pad(slots.p[order], ((0, pad), (0, 0)))
    masks = jnp.pad(slots.masks[order], ((0, pad), (0, 0), (0, 0)))
    chunks = -(-slots.exists.sum() // _CHUNK)

    def label_row(row: Axis) -> Int[Array, " u"]:
        row = jax.tree.map(lambda x: x[None], row)

        def add(i, scores):
            chunk = jax.lax.dynamic_slice_in_dim(masks, i * _CHUNK, _CHUNK)
            logits = jax.vmap(lambda mask: sample(mask, row, columns)[0])(chunk)
            weights = jax.lax.dynamic_slice_in_dim(p, i * _CHUNK, _CHUNK)
            return scores + jnp.matmul(weights.T, jax.nn.sigmoid(logits), precision=jax.lax.Precision.HIGHEST)

        scores = jax.lax.fori_loop(0, chunks, add, jnp.zeros((p.shape[1], len(columns.first))))
        return jnp.argmax(jnp.where(slots.category[:, None], scores, -1.0), 0).astype(jnp.int32)

    return jax.lax.map(label_row, rows, batch_size=_ROWS)


def instance_slots(
    class_logits, mask_logits, mergeable=None, top_k: int | None = None, answering=None
) -> InstanceSlots:
    """MERGE and the choice of pairs; arguments as of `instance`. `answering`, bool[K]: no other category answers."""
    n, k = class_logits.shape[1], class_logits.shape[2] - 1
    top_k = n if top_k is None else top_k
    if not 1 <= top_k <= n * k:
        raise InputError(f"instance: top_k is {top_k}, must be within 1 and N x K = {n} x {k} = {n * k}")
    if mergeable is None:
        mergeable = jnp.zeros(k, bool)
    merged, p = _merge(class_logits, mask_logits, mergeable)
    if answering is not None:
        p = jnp.where(answering, p, 0)
    best, pair = jax.lax.top_k(p.reshape(p.shape[0], -1), top_k)
    slot = pair // k
    chosen = jax.vmap(lambda slot, used: jnp.zeros(n, bool).at[slot].max(used))(slot, best > 0)
    return InstanceSlots(merged.mask_logits, merged.valid, slot, pair % k, best, chosen)


def instance_window(
    slots: InstanceSlots, rows: Axis, columns: Axis
) -> tuple[Bool[Array, "n t u"], Float[Array, " n"], Int[Array, " n"]]:
    """In a window of one image, of each chosen slot: its mask, the sum of sigmoid(mask) over it, its pixels."""
    image = tiles.inside(rows, columns)

    def add(n, state):
        nothing = tiles.peak(slots.masks[n], rows, columns) < 0
        return jax.lax.cond(nothing, lambda n, state: state, measure, n, state)

    def measure(n, state):
        masks, total, area = state
        logits = sample(slots.masks[n], rows, columns)
        mask = (logits >= 0) & image
        quality = jnp.where(mask, jax.nn.sigmoid(logits), 0).sum()
        return masks.at[n].set(mask), total.at[n].set(quality), area.at[n].set(mask.sum())

    n = len(slots.masks)
    start = jnp.zeros((n, *image.shape), bool), jnp.zeros(n), jnp.zeros(n, jnp.int32)
    return for_each(slots.chosen, add, start)


@jax.jit
def instance_order(p, slot, total, area) -> tuple[Int[Array, " k"], Float[Array, " k"]]:
    """The pairs by descending score, and those scores, from the sums over all windows of an image. A score is 0 where
    p is, where the slot is empty and where the mask has no pixel."""
    scores = p * (total / jnp.maximum(area, 1))[slot]
    order = jnp.argsort(scores, descending=True, stable=True)
    return order, scores[order]


def _merge(class_logits, mask_logits, mergeable) -> tuple[MergedProposals, Float[Array, "b n k"]]:
    """MERGE, and p without its background column (0 in empty slots)."""
    merged = merge_proposals(class_logits.astype(jnp.float32), mask_logits.astype(jnp.float32), mergeable)
    p = jax.nn.softmax(merged.class_logits, -1)[..., :-1]
    return merged, jnp.where(merged.valid[..., None], p, 0)


def _labels(merged: MergedProposals, p: Float[Array, "b n k"]) -> tuple[Int[Array, "b n"], Float[Array, "b n"]]:
    """Arg-max category and its p; -1 and 0 for background and empty slots."""
    label = jnp.argmax(merged.class_logits, -1)
    is_category = merged.valid & (label < p.shape[-1])
    return jnp.where(is_category, label, -1).astype(jnp.int32), jnp.where(is_category, p.max(-1), 0)
