"""Measures of foreground segmentation (salient objects), as the field's tool PySODMetrics computes them.

MAE, S-measure (Fan et al. 2017), E-measure (Fan et al. 2018), F-measure (Achanta et al. 2009) and the weighted
F-measure (Margolin et al. 2014). Predictions are stretched to the range 0..1 before all else, as that tool does.
"""

import numpy as np
from scipy import ndimage

from dataseg_jax.errors import InputError

LEVELS = 256  # Thresholds of the curves, from 1 down to 0.
BETA_SQUARED = 0.3  # Of F: precision counts more.
ALPHA = 0.5  # Of S: objects against regions.
EPSILON = np.spacing(1)
SUMS = ("mae", "s_measure", "weighted_f_measure", "f_measure_adaptive", "e_measure_adaptive")


class ForegroundMeasures:
    """Means over images; curves are averaged over the images before their maximum is taken.

    Attributes:
      images: how many were added.
    """

    def __init__(self):
        self.images = 0
        self._sums = dict.fromkeys(SUMS, 0.0)
        self._curves = {"f_measure": np.zeros(LEVELS), "e_measure": np.zeros(LEVELS)}

    def update(self, truth: np.ndarray, prediction: np.ndarray) -> None:
        """Adds one image.

        Args:
          truth: bool[H, W].
          prediction: [H, W], uint8 or floats within 0 and 1.

        Raises:
          InputError: shapes or types that cannot be scored.
        """
        truth, guess = _checked(truth, prediction)
        levels = (255 * guess).astype(np.uint8)  # The curves' thresholds cut between whole numbers.
        bold = guess >= min(2 * guess.mean(), 1)
        self.images += 1
        self._sums["mae"] += np.abs(guess - truth).mean()
        self._sums["s_measure"] += s_measure(truth, guess)
        self._sums["weighted_f_measure"] += weighted_f_measure(truth, guess)
        hits, positives = (truth & bold).sum(), bold.sum()
        self._sums["f_measure_adaptive"] += float(_f(hits, positives, truth.sum()))
        self._sums["e_measure_adaptive"] += float(_e(hits, positives, truth.sum(), truth.size))
        # Pixels at least as bright as each level, from 255 down, in all and inside the truth.
        hits, positives = (
            np.cumsum(np.bincount(values, minlength=LEVELS)[::-1]) for values in (levels[truth], levels.ravel())
        )
        self._curves["f_measure"] += _f(hits, positives, truth.sum())
        self._curves["e_measure"] += _e(hits, positives, truth.sum(), truth.size)

    def merge(self, other: "ForegroundMeasures") -> "ForegroundMeasures":
        """The state of both sets of images together."""
        merged = ForegroundMeasures()
        merged.images = self.images + other.images
        merged._sums = {name: self._sums[name] + other._sums[name] for name in SUMS}
        merged._curves = {name: curve + other._curves[name] for name, curve in self._curves.items()}
        return merged

    def compute(self) -> dict[str, float]:
        """mae, s_measure, weighted_f_measure, and of F and E the maximum (f_measure, e_measure), the mean over all
        thresholds (_mean) and the value at each image's own threshold, twice its mean (_adaptive); fractions."""
        if not self.images:
            return {}
        result = {name: value / self.images for name, value in self._sums.items()}
        for name, curve in self._curves.items():
            curve = curve / self.images
            result |= {name: curve.max(), f"{name}_mean": curve.mean()}
        return {name: float(value) for name, value in result.items()} | {"images": self.images}


def _checked(truth, prediction) -> tuple[np.ndarray, np.ndarray]:
    truth, guess = np.asarray(truth), np.asarray(prediction)
    if truth.shape != guess.shape or truth.ndim != 2 or not truth.size:
        raise InputError(f"the truth is {truth.shape} and the prediction {guess.shape}; both must be one [H, W]")
    if truth.dtype != bool:
        raise InputError(f"the truth is {truth.dtype}; it must be bool")
    guess = guess.astype(np.float64) / (255 if guess.dtype == np.uint8 else 1)
    if not np.isfinite(guess).all() or guess.min() < 0 or guess.max() > 1:
        raise InputError("the prediction must be uint8, or floats within 0 and 1")
    span = guess.max() - guess.min()
    return truth, (guess - guess.min()) / span if span else guess


def _f(hits, positives, total):
    """F at thresholds, from the pixels above each that are true, all pixels above it, and all true pixels."""
    precision, recall = hits / np.maximum(positives, 1), hits / max(total, 1)
    above = (1 + BETA_SQUARED) * precision * recall
    return above / np.where(above == 0, 1, BETA_SQUARED * precision + recall)


def _e(hits, positives, total, pixels):
    """E at thresholds, from counts: masks have two values, so that the alignment of a pixel has one of four."""
    if total in (0, pixels):  # One kind of pixel alone: those of that kind that were found.
        found = positives if total else pixels - positives
        return found / (pixels - 1 + EPSILON)
    mean_truth, mean_guess = total / pixels, positives / pixels
    counts = hits, positives - hits, total - hits, pixels - positives - total + hits
    values = (1, 1), (0, 1), (1, 0), (0, 0)  # Of the truth and of the guess.
    result = 0.0
    for count, (truth, guess) in zip(counts, values, strict=True):
        a, b = truth - mean_truth, guess - mean_guess
        alignment = 2 * a * b / (a**2 + b**2 + EPSILON)
        result = result + count * (alignment + 1) ** 2 / 4
    return result / (pixels - 1 + EPSILON)


def s_measure(truth: np.ndarray, guess: np.ndarray) -> float:
    """The structural similarity of objects and of the four regions around the truth's centre."""
    share = truth.mean()
    if share in (0, 1):
        return float(1 - guess.mean() if share == 0 else guess.mean())
    objects = share * _object(guess[truth]) + (1 - share) * _object(1 - guess[~truth])
    return float(max(0, ALPHA * objects + (1 - ALPHA) * _regions(truth, guess)))


def _object(values: np.ndarray) -> float:
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + EPSILON)


def _regions(truth, guess) -> float:
    height, width = truth.shape
    y, x = (int(np.round(axis.mean())) + 1 for axis in np.nonzero(truth))
    total = 0.0
    for rows in (slice(0, y), slice(y, height)):
        for columns in (slice(0, x), slice(x, width)):
            part = truth[rows, columns]
            if part.size:
                total += part.size / truth.size * _similarity(part.astype(float), guess[rows, columns])
    return total


def _similarity(truth, guess) -> float:
    n, mean_truth, mean_guess = truth.size, truth.mean(), guess.mean()
    if n == 1:
        return float(truth.item() == guess.item())
    a, b = truth - mean_truth, guess - mean_guess
    common, spread = (a * b).sum() / (n - 1), ((a**2).sum() + (b**2).sum()) / (n - 1)
    above, below = 4 * mean_truth * mean_guess * common, (mean_truth**2 + mean_guess**2) * spread
    return above / (below + EPSILON) if above else float(below == 0)


def weighted_f_measure(truth: np.ndarray, guess: np.ndarray) -> float:
    """F (beta 1) of errors that are weighted by where they lie: beside others inside the truth they count less, far
    from it more; 0 without a true pixel."""
    if not truth.any():
        return 0.0
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    error = np.abs(guess - truth)
    # An error outside depends on that of the nearest true pixel.
    spread = ndimage.convolve(error[tuple(nearest)], _gaussian(7, 5), mode="constant", cval=0)
    least = np.where(truth & (spread < error), spread, error)
    importance = np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    weighted = least * importance
    hits = truth.sum() - weighted[truth].sum()
    recall = 1 - weighted[truth].mean()
    precision = hits / (hits + weighted[~truth].sum() + EPSILON)
    return float(2 * recall * precision / (recall + precision + EPSILON))


def _gaussian(side: int, sigma: float) -> np.ndarray:
    x = np.arange(side) - side // 2
    kernel = np.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    return kernel / kernel.sum()
