"""Thresholds of the segments of an answer."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Which candidates become segments. ours: MaskFormer's values."""

    score: float = 0.8  # Segments of the panoptic task have p above it, instances a score above it.
    overlap: float = 0.8  # Of the panoptic task: the least share of its own pixels that a segment keeps.
