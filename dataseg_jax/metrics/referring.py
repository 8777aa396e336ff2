"""Measures of referring segmentation: the IoU of one mask a phrase (MQ-Former, table 1; gRefCOCO for absent phrases).

A threshold counts as passed at an IoU equal to it, as in the code of LAVT, X-Decoder and ReLA (`>=`); UNINEXT's counts
boxes above it, and reports no such shares of masks.
"""

import dataclasses

import numpy as np

from dataseg_jax.errors import InputError

THRESHOLDS = {"p50": 0.5, "p60": 0.6, "p70": 0.7, "p80": 0.8, "p90": 0.9}
# What the names of results begin with: those of every sentence, and of the first sentence of each annotation.
EVERY, FIRST = "", "first_"


@dataclasses.dataclass
class _Sums:
    """Of the phrases of one protocol; `passed` counts those at or above each threshold."""

    phrases: int = 0
    iou: float = 0.0
    intersection: int = 0
    union: int = 0
    passed: tuple[int, ...] = (0,) * len(THRESHOLDS)
    absent: int = 0
    absent_empty: int = 0

    def __add__(self, other: "_Sums") -> "_Sums":
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
            if field.name != "passed"
        }
        return _Sums(**sums, passed=tuple(a + b for a, b in zip(self.passed, other.passed, strict=True)))


class ReferringIoU:
    """Means over phrases, in two protocols: every sentence (UNINEXT), and the first of each annotation (X-Decoder).

    A phrase that describes nothing in the image (its true mask is empty) has no IoU: it counts as right where the
    answer is empty, too. An empty answer to another phrase has IoU 0.
    """

    def __init__(self):
        self._sums = {EVERY: _Sums(), FIRST: _Sums()}

    def update(self, truth: np.ndarray, prediction: np.ndarray | None, first: bool = True) -> None:
        """Adds one phrase.

        Args:
          truth: bool[H, W]; without a pixel where the image shows nothing of the kind.
          prediction: bool[H, W]; None = an empty answer.
          first: whether the phrase is the first sentence of its annotation.

        Raises:
          InputError: the masks are not bool of one size.
        """
        truth = np.asarray(truth)
        prediction = np.zeros_like(truth) if prediction is None else np.asarray(prediction)
        if truth.shape != prediction.shape or truth.ndim != 2 or not truth.size:
            raise InputError(
                f"the truth is {list(truth.shape)} and the prediction {list(prediction.shape)}; both must be one [H, W]"
            )
        for role, mask in (("truth", truth), ("prediction", prediction)):
            if mask.dtype != bool:
                raise InputError(f"the {role} is {mask.dtype}; it must be bool")
        counts = (np.count_nonzero(mask) for mask in (truth & prediction, truth, prediction))
        self.add_counts(*map(int, counts), first)

    def add_counts(self, intersection: int, truth: int, prediction: int, first: bool = True) -> None:
        """Adds one phrase by pixels that are counted already: of both masks, of the true one, of the predicted one."""
        if truth:
            union = truth + prediction - intersection
            iou = intersection / union
            passed = tuple(int(iou >= threshold) for threshold in THRESHOLDS.values())
            one = _Sums(1, iou, intersection, union, passed)
        else:
            one = _Sums(absent=1, absent_empty=int(not prediction))
        for name in (EVERY, FIRST) if first else (EVERY,):
            self._sums[name] += one

    def merge(self, other: "ReferringIoU") -> "ReferringIoU":
        """The state of both sets of phrases together."""
        merged = ReferringIoU()
        merged._sums = {name: sums + other._sums[name] for name, sums in self._sums.items()}
        return merged

    def compute(self) -> dict[str, float]:
        """The scores as fractions; those that are undefined because no phrase is of their kind are left out.

        Returns:
          Of every sentence, miou (mean of the IoUs), oiou (sum of the intersections by that of the unions, "cIoU" in
          some papers), p50 to p90 (share of phrases with at least that IoU), phrases (their number); absent (number of
          absent phrases) and absent_empty (share of them with an empty answer, gRefCOCO's N-acc). The same of the first
          sentences under names that begin with "first_".
        """
        result = {}
        for prefix, sums in self._sums.items():
            scores = {}
            if sums.phrases:
                scores = {"miou": sums.iou / sums.phrases, "oiou": sums.intersection / sums.union}
                shares = (passed / sums.phrases for passed in sums.passed)
                scores |= dict(zip(THRESHOLDS, shares, strict=True)) | {"phrases": sums.phrases}
            if sums.absent:
                scores |= {"absent": sums.absent, "absent_empty": sums.absent_empty / sums.absent}
            result |= {prefix + name: value for name, value in scores.items()}
        return result
