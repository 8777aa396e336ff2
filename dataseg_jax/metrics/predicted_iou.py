"""Whether a mask's predicted IoU orders masks as their true IoU does (SAM's IoU head)."""

import numpy as np

from dataseg_jax.errors import InputError


class IoURankCorrelation:
    """Spearman's rank correlation of predicted and true IoUs over all masks; equal values share their mean rank.

    Ranks are those among all masks, so the state keeps every pair: 8 bytes a mask.
    """

    def __init__(self):
        self._pairs: list[np.ndarray] = []

    def update(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Adds masks.

        Args:
          predicted: float[n], the IoU head's; of any scale.
          true: float[n], the IoUs with what was meant.

        Raises:
          InputError: they are not of one length, or not finite.
        """
        predicted, true = (np.atleast_1d(np.asarray(values, np.float32)) for values in (predicted, true))
        if predicted.shape != true.shape or predicted.ndim != 1:
            raise InputError(
                f"predicted IoUs are {list(predicted.shape)} and true ones {list(true.shape)}; both must be one [n]"
            )
        for role, values in (("predicted", predicted), ("true", true)):
            if not np.isfinite(values).all():
                raise InputError(f"{role} IoU {np.flatnonzero(~np.isfinite(values))[0]} is not finite")
        self._pairs.append(np.stack([predicted, true]))

    def merge(self, other: "IoURankCorrelation") -> "IoURankCorrelation":
        """The state of both sets of masks together."""
        merged = IoURankCorrelation()
        merged._pairs = self._pairs + other._pairs
        return merged

    def compute(self) -> dict[str, float]:
        """masks (their number), and iou_rank_correlation from -1 to 1.

        It is undefined, and left out, where all predicted or all true IoUs are equal.
        """
        pairs = np.concatenate([np.zeros((2, 0)), *self._pairs], 1)
        if not pairs.size:
            return {}
        ranks = np.stack([_ranks(values) for values in pairs])
        ranks -= ranks.mean(1, keepdims=True)
        spread = np.sqrt((ranks**2).sum(1))
        scores = {"masks": pairs.shape[1]}
        return scores | ({"iou_rank_correlation": float(ranks.prod(0).sum() / spread.prod())} if spread.all() else {})


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64[n], from 1 on."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
