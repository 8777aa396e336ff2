"""The panoptic task: non-overlapping segments of stuff and things (paper 3.2; rules of MaskFormer and Mask2Former)."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.inference import tiles
from dataseg_jax.inference.merged import merge_with_p
from dataseg_jax.inference.tiles import Axis, Tiles, for_each, sample
from dataseg_jax.objective.merge import MergedProposals
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.segmentation import Segmentation, segment_of


@flax.struct.dataclass
class MergedPanoptic:
    """Merged proposals of a batch; of one image without the leading axis."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]  # False: united with another slot.
    labels: Int[Array, "b n"]  # Category index; -1 = background or an empty slot.
    scores: Float[Array, "b n"]  # p of that label, 0 where it is -1.
    candidate: Bool[Array, "b n"]


def merge(class_logits, mask_logits, mergeable, things, score_threshold) -> MergedPanoptic:
    """MERGE and candidates; arguments as of `postprocess.panoptic`."""
    merged, p = merge_with_p(class_logits, mask_logits, mergeable)
    labels, scores = _labels(merged, p)
    return MergedPanoptic(merged.mask_logits, merged.valid, labels, scores, (labels >= 0) & (scores > score_threshold))


def tile(
    slots: MergedPanoptic, rows: Axis, columns: Axis
) -> tuple[Int[Array, "t u"], Int[Array, " n"], Int[Array, " n"]]:
    """In a tile of one image: n + 1 of the slot that owns each pixel (0 = none), the number of pixels that each slot
    owns, and the number of pixels where its mask is >= .5."""
    return tiles.by_platform(_slot_by_slot, _at_once, slots, rows, columns)


def _slot_by_slot(slots, rows, columns):
    image = tiles.inside(rows, columns)
    # The least weight of a pixel inside a mask. A slot below it in this tile neither owns a pixel nor affects an owner.
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
        # Where the winner is not inside its own mask the pixel has no owner.
        owner = jnp.where(wins, jnp.where(inside, n + 1, 0), owner)
        return jnp.where(wins, weighted, best), owner, area.at[n].set(inside.sum())

    none = jnp.zeros(slots.labels.shape, jnp.int32)
    start = jnp.full(image.shape, -1.0), jnp.zeros(image.shape, jnp.int32), none
    _, owner, area = for_each(slots.candidate, compete, start)
    owned = for_each(slots.candidate & (area > 0), lambda n, owned: owned.at[n].set((owner == n + 1).sum()), none)
    return owner, owned, area


def _at_once(slots, rows, columns):
    n = len(slots.labels)
    number = jnp.arange(n, dtype=jnp.int32)[:, None]

    def row(row: Axis):
        mask, image = tiles.of_row(slots.masks, row, columns)
        inside = (mask >= 0) & image & slots.candidate[:, None]
        weighted = jnp.where(slots.candidate[:, None], slots.scores[:, None] * jax.nn.sigmoid(mask), -1.0)
        # One pass: of equal weights the lower number is the first slot; its last bit is whether the pixel is inside.
        start = jnp.float32(-1), jnp.int32(0)
        _, winner = jax.lax.reduce((weighted, 2 * number + inside), start, _heavier, (0,))
        owner = jnp.where(winner % 2 == 1, winner // 2 + 1, 0)
        owned = (owner == number + 1).sum(-1, dtype=jnp.int32)
        return owner, owned, inside.sum(-1, dtype=jnp.int32)

    owner, owned, area = tiles.row_by_row(row, rows, len(columns.first), n)
    return owner, owned.sum(0), area.sum(0)


def _heavier(one, other):
    (weight, number), (other_weight, other_number) = one, other
    first = (weight > other_weight) | ((weight == other_weight) & (number <= other_number))
    return jnp.where(first, weight, other_weight), jnp.where(first, number, other_number)


def kept(owned, area, overlap_threshold) -> Bool[Array, " n"]:
    """Which slots are kept, by their pixels in all tiles of an image; numpy in, numpy out."""
    # A quotient: threshold * area would round, and 7 of 10 pixels would fall below 0.7.
    return (owned > 0) & (owned / (area + (area == 0)) >= overlap_threshold)


def finish(slots: MergedPanoptic, owner, owned, area, thresholds) -> dict[str, Array]:
    """The arrays of an answer, for an image that is one tile: ids, labels, scores, valid."""
    valid = kept(owned, area, thresholds.overlap)
    ids = jnp.where(jnp.append(False, valid)[owner], owner, 0)
    return {"ids": ids, "labels": slots.labels, "scores": slots.scores, "valid": valid}


def assemble(image, slots: MergedPanoptic, parts: Tiles, vocabulary, thresholds) -> Segmentation:
    owner, (owned, area) = parts.joined()
    valid = kept(owned, area, thresholds.overlap)
    ids = np.where(np.append(False, valid), np.arange(len(valid) + 1, dtype=np.int32), 0)[owner]
    segments = [
        segment_of(vocabulary, n + 1, slots.labels[n], float(slots.scores[n]), owned[n]) for n in np.flatnonzero(valid)
    ]
    category = slots.labels >= 0
    counts = ProposalCounts(
        total=len(valid),
        merged=int((~slots.exists).sum()),
        background=int((slots.exists & ~category).sum()),
        below_score=int((category & ~slots.candidate).sum()),
        no_pixel=int((slots.candidate & (area == 0)).sum()),
        covered=int((slots.candidate & (area > 0) & ~valid).sum()),
        kept=len(segments),
        best_score=float(slots.scores.max()),
        thresholds=thresholds,
    )
    return Segmentation(image, "panoptic", ids, tuple(segments), vocabulary, None, counts)


def _labels(merged: MergedProposals, p: Float[Array, "b n k"]) -> tuple[Int[Array, "b n"], Float[Array, "b n"]]:
    """Arg-max category and its p; -1 and 0 for background and empty slots."""
    label = jnp.argmax(merged.class_logits, -1)
    is_category = merged.valid & (label < p.shape[-1])
    return jnp.where(is_category, label, -1).astype(jnp.int32), jnp.where(is_category, p.max(-1), 0)
