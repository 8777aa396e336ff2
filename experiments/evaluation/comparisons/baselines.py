"""Scores of segmentation by colour alone, without shape, which a trained model must exceed.

`majority_class` predicts the most frequent class everywhere; `colour_classifier` predicts for each pixel the class that
is most frequent at its colour. Both are fitted on the training images of a label dataset and scored by mIoU on its
validation images.
"""

from collections.abc import Callable, Iterable

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import SemanticIoU

Image = tuple[np.ndarray, np.ndarray]
Classifier = Callable[[np.ndarray], np.ndarray]


def colour_histogram(images: Iterable[Image], num_classes: int, bins: int = 32) -> np.ndarray:
    """Counts the training pixels of each class in each cell of a cube of RGB colours.

    Args:
      images: (image uint8[H, W, 3], labels int[H, W] in 0..num_classes-1, -1 for void) pairs.
      num_classes: K.
      bins: cells along each colour axis; a divisor of 256.

    Returns:
      int64[K, bins, bins, bins].

    Raises:
      InputError: if a label is out of range or no pixel is labelled.
    """
    counts = np.zeros(num_classes * bins**3, np.int64)
    for position, (image, labels) in enumerate(images):
        low, high = labels.min(), labels.max()
        if low < -1 or high >= num_classes:
            raise InputError(f"training image {position}: labels span {low}..{high}; give -1..{num_classes - 1}")
        cell = labels[labels >= 0].astype(np.int64)
        for channel in range(3):
            cell = cell * bins + image[labels >= 0][:, channel].astype(np.int64) * bins // 256
        counts += np.bincount(cell, minlength=counts.size)
    if not counts.any():
        raise InputError("training images: none has a labelled pixel; give at least one")
    return counts.reshape(num_classes, bins, bins, bins)


def colour_classifier(histogram: np.ndarray, smoothing: float = 1.0) -> Classifier:
    """Per-pixel classifier by colour: the largest count of class and cell after a blur of the cube.

    Args:
      histogram: of `colour_histogram`.
      smoothing: standard deviation in cells of the Gaussian blur, which fills cells without training pixels.

    Returns:
      A function of image uint8[H, W, 3] that gives labels int32[H, W].
    """
    bins = histogram.shape[1]
    offset = np.arange(bins)
    kernel = np.exp(-0.5 * ((offset[:, None] - offset) / smoothing) ** 2)
    smooth = np.einsum("krgb,rs,gt,bu->kstu", histogram.astype(np.float64), kernel, kernel, kernel, optimize=True)
    table = np.argmax(smooth, axis=0).astype(np.int32)

    def classify(image: np.ndarray) -> np.ndarray:
        r, g, b = np.moveaxis(image.astype(np.int64) * bins // 256, -1, 0)
        return table[r, g, b]

    return classify


def majority_class(histogram: np.ndarray) -> Classifier:
    """Classifier that predicts the most frequent class of a `colour_histogram` for every pixel."""
    label = np.int32(np.argmax(histogram.sum((1, 2, 3))))
    return lambda image: np.full(image.shape[:2], label, np.int32)


def semantic_baselines(train: Iterable[Image], val: Iterable[Image], num_classes: int) -> dict[str, float]:
    """mIoU of both baselines.

    Args:
      train: (image uint8[H, W, 3], labels int32[H, W] with -1 for void) pairs to fit on.
      val: such pairs to score on.
      num_classes: K.

    Returns:
      {"colour": mIoU, "majority": mIoU}, fractions.

    Raises:
      InputError: if a training label is out of range or no training pixel is labelled.
    """
    histogram = colour_histogram(train, num_classes)
    classifiers = {"colour": colour_classifier(histogram), "majority": majority_class(histogram)}
    scores = {name: SemanticIoU(num_classes) for name in classifiers}
    for image, labels in val:
        for name, classify in classifiers.items():
            scores[name].update(labels, classify(image))
    return {name: float(score.compute()["miou"]) for name, score in scores.items()}
