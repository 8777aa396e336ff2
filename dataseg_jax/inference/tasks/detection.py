"""The detection task: boxes of things with a score, best first (MQ-Former 3.3; the rule of Mask DINO).

Only models whose queries have boxes answer it. The choice of pairs of slot and category is that of the instance task;
the score is the class probability alone.
"""

import numpy as np
from jaxtyping import Array

from dataseg_jax.inference.tasks.instance import MergedInstances
from dataseg_jax.results.proposal_counts import ProposalCounts
from dataseg_jax.results.segmentation import Segmentation, segment_of


def finish(slots: MergedInstances, thresholds) -> dict[str, Array]:
    """The arrays of an answer: boxes (corners, in pixels of the model's square), labels, scores, valid."""
    valid = (slots.p > 0) & (slots.p > thresholds.score)
    return {"boxes": slots.boxes[slots.slot], "labels": slots.labels, "scores": slots.p, "valid": valid}


def assemble(image, slots: MergedInstances, parts, vocabulary, thresholds) -> Segmentation:
    """`parts` is of no use: an answer without masks has no tiles."""
    found = slots.p > 0
    kept = found & (slots.p > thresholds.score)
    boxes = np.clip(slots.boxes, 0, [*image.shape[1::-1]] * 2)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(-1).round().astype(int)
    segments = [
        segment_of(vocabulary, i + 1, slots.labels[pair], float(slots.p[pair]), areas[slot], boxes[slot])
        for i, (pair, slot) in enumerate(zip(np.flatnonzero(kept), slots.slot[kept], strict=True))
    ]
    counts = ProposalCounts(
        total=len(slots.p),
        merged=0,
        background=0,
        below_score=int((found & ~kept).sum()),
        no_pixel=int((~found).sum()),
        covered=0,
        kept=len(segments),
        best_score=float(slots.p.max(initial=0)),
        thresholds=thresholds,
    )
    ids = np.zeros(image.shape[:2], np.int32)
    return Segmentation(image, "detection", ids, tuple(segments), vocabulary, None, counts)
