"""How many proposals of one image each step or threshold removed."""

import dataclasses

from dataseg_jax.results.thresholds import Thresholds


@dataclasses.dataclass(frozen=True)
class ProposalCounts:
    """Counts that add up to `total`. Of the instance task they count pairs of a proposal and a category.

    Attributes:
      total: N, or the number of pairs.
      merged: united with another proposal of the same category.
      background: background is more likely than any category of the vocabulary.
      below_score: p (for instances, the score) is not above `thresholds.score`.
      no_pixel: sigmoid(mask) is below .5 everywhere, or (instances) p is 0.
      covered: others leave a share of the mask's pixels that is below `thresholds.overlap`.
      kept: segments of the answer; for the semantic task, the proposals that enter the sum.
      best_score: the highest p (for instances, the highest score), 0 where all is background.
      thresholds: the thresholds that were applied.
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
