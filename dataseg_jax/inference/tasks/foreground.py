"""The foreground task: how likely each pixel belongs to what stands out, for a vocabulary of one word."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dataseg_jax.inference import tiles
from dataseg_jax.inference.tasks.semantic import MergedSemantic
from dataseg_jax.inference.tiles import Axis, Tiles, for_each, sample
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.segmentation import Segmentation, segment_of

LEVELS = 255  # An answer has whole numbers up to this, as the field's PNGs.


def tile(slots: MergedSemantic, rows: Axis, columns: Axis) -> tuple[Int[Array, "t u"]]:
    """In a tile of one image: 255 times the largest p x sigmoid(mask) of all slots, rounded."""
    best: Float[Array, "t u"] = tiles.by_platform(_slot_by_slot, _at_once, slots, rows, columns)
    return (jnp.where(tiles.inside(rows, columns), jnp.round(LEVELS * best), 0).astype(jnp.int32),)


def _slot_by_slot(slots, rows, columns):
    def add(n, best):
        return jnp.maximum(best, slots.p[n].max() * jax.nn.sigmoid(sample(slots.masks[n], rows, columns)))

    return for_each(slots.exists, add, jnp.zeros((len(rows.first), len(columns.first))))


def _at_once(slots, rows, columns):
    p = jnp.where(slots.exists, slots.p.max(-1), 0)[:, None]

    def row(row: Axis) -> Float[Array, " u"]:
        logits, _ = tiles.of_row(slots.masks, row, columns)
        return (p * jax.nn.sigmoid(logits)).max(0)

    return tiles.row_by_row(row, rows, len(columns.first), len(slots.masks))


def finish(slots: MergedSemantic, levels, thresholds) -> dict[str, Array]:
    """The arrays of an answer, for an image that is one tile: foreground, 0 to 255."""
    return {"foreground": levels}


def assemble(image, slots: MergedSemantic, parts: Tiles, vocabulary, thresholds) -> Segmentation:
    levels, _ = parts.joined()
    ids = (2 * levels > LEVELS).astype(np.int32)
    segments = [segment_of(vocabulary, 1, 0, float(slots.p.max()), ids.sum())] if ids.any() else []
    total, kept = len(slots.exists), int(slots.exists.sum())
    counts = ProposalCounts(total, total - kept, 0, 0, 0, 0, kept, float(slots.p.max()), thresholds)
    return Segmentation(
        image, "foreground", ids, tuple(segments), vocabulary, None, counts, foreground=levels.astype(np.uint8)
    )
