"""The semantic task: the category of every pixel (paper 3.2; rule of MaskFormer)."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.inference import tiles
from dataseg_jax.inference.merged import merge_with_p
from dataseg_jax.inference.tiles import Axis, Tiles, sample
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.segmentation import Segmentation, segment_of

_ROWS = 16  # Rows of a tile scored at once: K = 1216 maps of a whole tile would fill the memory.
_CHUNK = 16  # Slots summed in one product.
_MISSING = -5e8  # Between any real class logit and the -1e9 of a missing category.


@flax.struct.dataclass
class MergedSemantic:
    """Merged proposals of a batch; of one image without the leading axis."""

    masks: Float[Array, "b n h w"]
    exists: Bool[Array, "b n"]
    p: Float[Array, "b n k"]
    category: Bool[Array, "b k"]  # The categories that the vocabulary has.


def merge(class_logits, mask_logits, mergeable, things, score_threshold) -> MergedSemantic:
    """MERGE and p; arguments as of `postprocess.semantic`."""
    merged, p = merge_with_p(class_logits, mask_logits, mergeable)
    category = (merged.valid[..., None] & (merged.class_logits[..., :-1] > _MISSING)).any(1)
    return MergedSemantic(merged.mask_logits, merged.valid, p, category)


def tile(slots: MergedSemantic, rows: Axis, columns: Axis) -> tuple[Int[Array, "t u"]]:
    """The category of every pixel in a tile of one image."""
    return (tiles.by_platform(_slot_by_slot, _at_once, slots, rows, columns),)


def _slot_by_slot(slots, rows, columns):
    # Empty slots are moved to the end, and the sum stops before them.
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
        return _best(slots, scores)

    return jax.lax.map(label_row, rows, batch_size=_ROWS)


def _at_once(slots, rows, columns):
    def row(row: Axis) -> Int[Array, " u"]:
        logits, _ = tiles.of_row(slots.masks, row, columns)
        scores = jnp.matmul(slots.p.T, jax.nn.sigmoid(logits), precision=jax.lax.Precision.HIGHEST)
        return _best(slots, scores)

    return tiles.row_by_row(row, rows, len(columns.first), sum(slots.p.shape))


def _best(slots, scores: Float[Array, "k u"]) -> Int[Array, " u"]:
    return jnp.argmax(jnp.where(slots.category[:, None], scores, -1.0), 0).astype(jnp.int32)


def finish(slots: MergedSemantic, labels, thresholds) -> dict[str, Array]:
    """The arrays of an answer, for an image that is one tile: labels."""
    return {"labels": labels}


def assemble(image, slots: MergedSemantic, parts: Tiles, vocabulary, thresholds) -> Segmentation:
    ids, _ = parts.joined()
    ids += 1
    areas = np.bincount(ids.ravel())
    segments = [segment_of(vocabulary, k, k - 1, None, areas[k]) for k in np.flatnonzero(areas)]
    total, kept = len(slots.exists), int(slots.exists.sum())
    counts = ProposalCounts(total, total - kept, 0, 0, 0, 0, kept, float(slots.p.max()), thresholds)
    return Segmentation(image, "semantic", ids, tuple(segments), vocabulary, None, counts)
