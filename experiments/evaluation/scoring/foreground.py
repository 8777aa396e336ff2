"""Scores two folders of foreground masks against each other, as the field's tool PySODMetrics does."""

import functools
from collections.abc import Sequence

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_gray
from dataseg_jax.metrics import ForegroundMeasures
from experiments.evaluation.scoring.labels import Pair, read_pairs
from experiments.evaluation.scoring.processes import by_chunks

_ABOVE = 128  # Brighter pixels of the ground truth are foreground.


def score_foreground(ground_truth: str, predictions: str, workers: int = 1) -> dict:
    """The measures of two folders of gray PNGs with equal names.

    Args:
      ground_truth: folder; every PNG in it is an image, whose pixels above 128 are foreground.
      predictions: folder with a PNG of the same name and size for each; brighter is more certain. Each is stretched to
        the full range first, as the tool does.
      workers: number of processes.

    Returns:
      `ForegroundMeasures.compute`.

    Raises:
      InputError: files that cannot be scored.
    """
    chunks = by_chunks(measures_of, read_pairs(ground_truth, predictions), workers)
    return functools.reduce(lambda one, other: one.merge(other), chunks).compute()


def measures_of(pairs: Sequence[Pair]) -> ForegroundMeasures:
    """The state of some images."""
    state = ForegroundMeasures()
    for pair in pairs:
        truth, guess = read_gray(pair.gt_png) > _ABOVE, read_gray(pair.pred_png)
        try:
            state.update(truth, guess)
        except InputError as error:
            raise InputError(f"{pair.pred_png} against {pair.gt_png}: {error}") from None
    return state
