"""Where the proposals of one image went: which step or threshold removed how many of them."""

import dataclasses

from dataseg_jax.results.thresholds import Thresholds


@dataclasses.dataclass(frozen=True)
class ProposalCounts:
    """Counts that add up to `total`. Of the instance task they count pairs of a proposal and a category.

    Attributes:
      total: N, or the pairs that were looked at.
      merged: united with another proposal of the same category.
      background: no category of the vocabulary is more likely than none of them.
      below_score: p (of instances the score) is not above `thresholds.score`.
      no_pixel: nowhere is sigmoid(mask) >= .5, or (instances) p is 0.
      covered: of the pixels of the mask too few are left by others for `thresholds.overlap`.
      kept: segments of the answer; of the semantic task the proposals that vote.
      best_score: the highest p (of instances the highest score), 0 where all is background.
      thresholds: those that were used.
    """

    total: int
    merged: int
    background: int
    below_score: int
    no_pixel: int
    covered: int
    kept: int
    best_score: float
    thresholds: "Thresholds"

    def __str__(self) -> str:
        limit = self.thresholds
        steps = (
            (self.merged, "united with another by MERGE"),
            (self.background, "background"),
            (self.below_score, f"not above the score threshold {limit.score:g} (best {self.best_score:.2g})"),
            (self.no_pixel, "without a pixel where the mask is >= 0.5"),
            (self.covered, f"left with less than the overlap threshold {limit.overlap:g} of their mask"),
        )
        gone = "; ".join(f"{count} {why}" for count, why in steps if count)
        return f"{self.kept} of {self.total} proposals kept{': ' if gone else ''}{gone}"
