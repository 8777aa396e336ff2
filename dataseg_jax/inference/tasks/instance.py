"""The instance task: masks of things, which may overlap, best score first (paper 3.2; rule of Mask2Former)."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.inference import tiles
from dataseg_jax.inference.merged import merge_with_p
from dataseg_jax.inference.tiles import Axis, Tiles, for_each, sample
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segmentation, segment_of


@flax.struct.dataclass
class MergedInstances:
    """Merged proposals of a batch and the best pairs of slot and category; of one image without the leading axis."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]
    slot: Int[Array, "b k"]
    labels: Int[Array, "b k"]
    p: Float[Array, "b k"]
    chosen: Bool[Array, "b n"]  # Slots of a pair with p > 0.
    boxes: Float[Array, "b n 4"] | None = None  # Corners of each slot's box in pixels, if the model has boxes.


def merge(
    class_logits, mask_logits, mergeable, things, score_threshold=None, top_k: int | None = None
) -> MergedInstances:
    """MERGE and the choice of pairs; arguments as of `postprocess.instance`.

    `things`, bool[K]: instances are of these categories alone; None: of all.
    """
    n, k = class_logits.shape[1], class_logits.shape[2] - 1
    top_k = n if top_k is None else top_k
    if not 1 <= top_k <= n * k:
        raise InputError(f"instance: top_k is {top_k}, must be within 1 and N x K = {n} x {k} = {n * k}")
    merged, p = merge_with_p(class_logits, mask_logits, mergeable)
    if things is not None:
        p = jnp.where(things, p, 0)
    best, pair = jax.lax.top_k(p.reshape(p.shape[0], -1), top_k)
    slot = pair // k
    chosen = jax.vmap(lambda slot, used: jnp.zeros(n, bool).at[slot].max(used))(slot, best > 0)
    return MergedInstances(merged.mask_logits, merged.valid, slot, pair % k, best, chosen)


def tile(
    slots: MergedInstances, rows: Axis, columns: Axis
) -> tuple[Bool[Array, "n t u"], Float[Array, " n"], Int[Array, " n"]]:
    """In a tile of one image, for each chosen slot: its mask, the sum of sigmoid(mask) over it, its area."""
    return tiles.by_platform(_slot_by_slot, _at_once, slots, rows, columns)


def _slot_by_slot(slots, rows, columns):
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


def _at_once(slots, rows, columns):
    def row(row: Axis):
        logits, image = tiles.of_row(slots.masks, row, columns)
        mask = (logits >= 0) & image & slots.chosen[:, None]
        quality = jnp.where(mask, jax.nn.sigmoid(logits), 0).sum(-1)
        return mask, quality, mask.sum(-1, dtype=jnp.int32)

    masks, total, area = tiles.row_by_row(row, rows, len(columns.first), len(slots.masks))
    return masks.swapaxes(0, 1), total.sum(0), area.sum(0)


@jax.jit
def ordered(p, slot, total, area) -> tuple[Int[Array, " k"], Float[Array, " k"]]:
    """The order of the pairs by descending score, and the scores in that order, from the sums over all tiles of an
    image. A score is 0 where p is 0, where the slot is empty and where the mask has no pixel."""
    scores = p * (total / jnp.maximum(area, 1))[slot]
    order = jnp.argsort(scores, descending=True, stable=True)
    return order, scores[order]


def finish(slots: MergedInstances, masks, total, area, thresholds) -> dict[str, Array]:
    """The arrays of an answer, for an image that is one tile: masks, labels, scores, valid, best score first."""
    order, scores = ordered(slots.p, slots.slot, total, area)
    valid = (scores > 0) & (scores > thresholds.score)
    return {"masks": masks[slots.slot[order]], "labels": slots.labels[order], "scores": scores, "valid": valid}


def packed(masks, *sums):
    """The arrays of a tile for the transfer to the host: masks as bits, column by column as in run lengths."""
    return jnp.packbits(masks.swapaxes(1, 2), -1), *sums


def joined(parts: Tiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outputs of all tiles: masks as bits uint8[N, W, H / 8], padded; total and area of each slot."""
    side, packed, sums = parts.side, None, []
    for y, x, (part, *counts) in parts:
        if packed is None:
            packed = np.empty((len(part), parts.padded[1], parts.padded[0] // 8), np.uint8)
        packed[:, x : x + side, y // 8 : (y + side) // 8] = part
        sums.append(counts)
    return packed, *(np.sum(one, 0) for one in zip(*sums, strict=True))


def painted(packed: np.ndarray, chosen, size: tuple[int, int]) -> tuple[np.ndarray, Masks]:
    """Ids int32[H, W] and masks of the answer's segments, which are these slots of `joined`; the first lies on top."""
    height, width = size
    ids, codes = np.zeros((width, height), np.int32), {}
    for i in range(len(chosen))[::-1]:
        mask = np.unpackbits(packed[chosen[i], :width], axis=-1, count=height).view(bool)
        np.copyto(ids, i + 1, where=mask)
        if chosen[i] not in codes:
            codes[chosen[i]] = Masks.encode([mask.T]).rle[0]
    return np.ascontiguousarray(ids.T), Masks(tuple(codes[n] for n in chosen))


def boxes_inside(slots: MergedInstances, size: tuple[int, int]) -> list | np.ndarray:
    """The box of each slot, cut to an image of height and width `size`; None of models without boxes."""
    return [None] * len(slots.chosen) if slots.boxes is None else np.clip(slots.boxes, 0, [*size[::-1]] * 2)


def assemble(image, slots: MergedInstances, parts: Tiles, vocabulary, thresholds) -> Segmentation:
    packed, total, area = joined(parts)
    order, scores = jax.device_get(ordered(slots.p, slots.slot, total, area))
    order, scores = order[scores > 0], scores[scores > 0]
    kept = scores > thresholds.score
    chosen = slots.slot[order[kept]]

    ids, masks = painted(packed, chosen, parts.size)
    boxes = boxes_inside(slots, parts.size)
    segments = [
        segment_of(vocabulary, i + 1, slots.labels[pair], float(score), area[slots.slot[pair]], boxes[slots.slot[pair]])
        for i, (pair, score) in enumerate(zip(order[kept], scores[kept], strict=True))
    ]
    counts = ProposalCounts(
        total=len(slots.p),
        merged=0,
        background=0,
        below_score=int((~kept).sum()),
        no_pixel=len(slots.p) - len(scores),
        covered=0,
        kept=len(segments),
        best_score=float(scores.max(initial=0)),
        thresholds=thresholds,
    )
    return Segmentation(image, "instance", ids, tuple(segments), vocabulary, masks, counts)
