"""The referring task: the mask that a phrase describes, of the one query that answers best (MQ-Former 3.3, X-Decoder).

Phrases do not compete, since several may describe one object: the probability of a phrase is that of the phrase against
the background alone. A phrase whose best query is below the threshold describes nothing in the image. For all objects
that a phrase fits, ask for instances in its place.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.inference.tasks.instance import MergedInstances, boxes_inside, joined, painted
from dataseg_jax.inference.tiles import Tiles
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.segmentation import Segmentation, segment_of
from dataseg_jax.results.thresholds import Thresholds

# p > .5: the phrase is more likely than the background.
LIKELY = Thresholds(0.5, 0.0)


def merge(class_logits, mask_logits, mergeable, things, score_threshold) -> MergedInstances:
    """The best query of every phrase; nothing merges. Arguments as of the instance task."""
    logits = class_logits.astype(jnp.float32)
    p = jax.nn.sigmoid(logits[..., :-1] - logits[..., -1:])
    slot, best = jnp.argmax(p, 1), p.max(1)
    b, n, k = p.shape
    chosen = jax.vmap(lambda slot, used: jnp.zeros(n, bool).at[slot].max(used))(slot, best > score_threshold)
    labels = jnp.broadcast_to(jnp.arange(k), (b, k))
    return MergedInstances(mask_logits.astype(jnp.float32), jnp.ones((b, n), bool), slot, labels, best, chosen)


def finish(slots: MergedInstances, masks, total, area, thresholds) -> dict:
    """The arrays of an answer, for an image that is one tile, phrase by phrase: masks, labels, scores, valid."""
    valid = (slots.p > thresholds.score) & (area[slots.slot] > 0)
    return {"masks": masks[slots.slot], "labels": slots.labels, "scores": slots.p, "valid": valid}


def assemble(image, slots: MergedInstances, parts: Tiles, vocabulary, thresholds) -> Segmentation:
    packed, _, area = joined(parts)
    p, slot = slots.p[: len(vocabulary)], slots.slot[: len(vocabulary)]
    likely = p > thresholds.score
    answered = np.flatnonzero(likely & (area[slot] > 0))
    ids, masks = painted(packed, slot[answered], parts.size)
    boxes = boxes_inside(slots, parts.size)
    segments = [
        segment_of(vocabulary, i + 1, phrase, float(p[phrase]), area[slot[phrase]], boxes[slot[phrase]])
        for i, phrase in enumerate(answered)
    ]
    counts = ProposalCounts(
        total=len(vocabulary),
        merged=0,
        background=0,
        below_score=int((~likely).sum()),
        no_pixel=int(likely.sum()) - len(answered),
        covered=0,
        kept=len(answered),
        best_score=float(p.max(initial=0)),
        thresholds=thresholds,
    )
    return Segmentation(image, "referring", ids, tuple(segments), vocabulary, masks, counts)
