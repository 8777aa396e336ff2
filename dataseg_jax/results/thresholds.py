"""What becomes a segment of an answer."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What becomes a segment. ours: MaskFormer's."""

    score: float = 0.8  # Of the panoptic task: p of a segment is above it; of instances: their score is.
    overlap: float = 0.8  # Of the panoptic task: the share of its own pixels that a segment is left with, at least.
