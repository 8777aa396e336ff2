"""Mean intersection over union of label maps, from a confusion matrix."""

from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.metrics.shared import class_keys, pair_counts


class SemanticIoU:
    """A confusion matrix over the labelled pixels.

    Void pixels of the ground truth do not count. A labelled pixel without prediction is a miss of its class and no
    class's false positive.

    Attributes:
      confusion: int64[K, K + 1], ground truth by prediction, the last column without prediction. Sums of states are
        states.
    """

    def __init__(self, vocabulary_size: int, names: Sequence[str] | None = None, ignore: Sequence[int] | None = None):
        """Makes an empty state.

        Args:
          vocabulary_size: K.
          names: K names, the keys of the results by class; the index where absent.
          ignore: values of a map that mean void; by default -1, and 255 where it is no category (K <= 255).
        """
        self.names = class_keys(names, vocabulary_size)
        self.ignore = tuple(ignore) if ignore is not None else (-1, 255) if vocabulary_size <= 255 else (-1,)
        self.confusion = np.zeros((vocabulary_size, vocabulary_size + 1), np.int64)

    def update(self, gt: np.ndarray, pred: np.ndarray) -> None:
        """Adds one image.

        Args:
          gt: int[H, W], category 0..K-1 or void.
          pred: int[H, W], category 0..K-1, or void where nothing is predicted.

        Raises:
          InputError: sizes differ, or a value is neither a category nor void.
        """
        self.add_counts(*pair_counts(gt, pred))

    def add_counts(self, gt: np.ndarray, pred: np.ndarray, pixels: np.ndarray) -> None:
        """Adds pixels that are counted already: int[n] true values, int[n] predicted values, int[n] how many each."""
        for role, values in (("ground truth", gt), ("prediction", pred)):
            wrong = values[((values < 0) | (values >= len(self.names))) & ~np.isin(values, self.ignore)]
            if wrong.size:
                raise InputError(
                    f"the {role} has the value {wrong[0]}; it must be a category 0..{len(self.names) - 1} or void "
                    f"({', '.join(map(str, self.ignore))})"
                )
        labelled = ~np.isin(gt, self.ignore)
        column = np.where(np.isin(pred, self.ignore), len(self.names), pred)
        np.add.at(self.confusion, (gt[labelled], column[labelled]), pixels[labelled])

    def merge(self, other: "SemanticIoU") -> "SemanticIoU":
        """The state of both sets of images together.

        Raises:
          InputError: the two score different categories.
        """
        if self.names != other.names:
            raise InputError("two SemanticIoU states of different categories cannot be merged")
        merged = SemanticIoU(len(self.names), self.names, self.ignore)
        merged.confusion = self.confusion + other.confusion
        return merged

    def compute(self) -> dict:
        """The scores, as fractions; those that are undefined because no pixel is labelled are left out.

        Returns:
          miou and mean_accuracy (means over the classes present in the ground truth), pixel_accuracy,
          frequency_weighted_iou, n (number of those classes), per_class: {name: {iou, accuracy}} of those classes.
        """
        true_area = self.confusion.sum(1)
        hit = self.confusion.diagonal()
        union = true_area + self.confusion[:, :-1].sum(0) - hit
        present = np.flatnonzero(true_area)
        iou, accuracy = hit[present] / union[present], hit[present] / true_area[present]
        result = {}
        if present.size:
            result = {
                "miou": float(iou.mean()),
                "pixel_accuracy": float(hit.sum() / true_area.sum()),
                "mean_accuracy": float(accuracy.mean()),
                "frequency_weighted_iou": float(np.average(iou, weights=true_area[present])),
            }
        per_class = {
            self.names[k]: {"iou": float(i), "accuracy": float(a)}
            for k, i, a in zip(present, iou, accuracy, strict=True)
        }
        return result | {"n": int(present.size), "per_class": per_class}
