"""Scores a model by clicks: every object of an image is clicked on, and its mask is compared click by click.

The clicks are the standard ones (`metrics.clicks`): the centre of the object, then of the largest error.
"""

import dataclasses

import numpy as np

from data.example import Example
from dataseg_jax.inference.promptable import PromptPredictor
from dataseg_jax.metrics.clicks import FedBack, click_ious, iou
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segmentation, segment_of
from dataseg_jax.text import Vocabulary


@dataclasses.dataclass(frozen=True)
class ClickedSegmentation(Segmentation):
    """The masks after a first click on each object of an image, and how they went on.

    Attributes:
      ious: of each object after each click.
      predicted, true: IoUs of every candidate of every first click, float32[n], as predicted and as they are.
    """

    ious: tuple[tuple[float, ...], ...] = ()
    predicted: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
    true: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))


class Clicker:
    """Clicks on the objects of images; takes the place of a `Predictor` for datasets that are scored by clicks."""

    devices = 1  # That share a batch: none does.

    def __init__(self, model: ModelSpec, image_size: int):
        """The model without parameters, see `use`. Raises InputError if it answers no prompts."""
        self._predictor = PromptPredictor(None, model, image_size)

    def use(self, params) -> None:
        """The parameters for what follows."""
        self._predictor.use(params)

    def start(self, examples: list[Example], vocabulary: Vocabulary):
        """() -> a `ClickedSegmentation` of each example; all is computed at once, for an image is set at a time."""
        answers = [self._answer(example, vocabulary) for example in examples]
        return lambda: answers

    def _answer(self, example: Example, vocabulary: Vocabulary) -> ClickedSegmentation:
        truths, labels = objects_of(example)
        size = example.image.shape[:2]
        nothing = np.zeros(size, np.int32)
        if not len(truths):
            return ClickedSegmentation(example.image, "instance", nothing, (), vocabulary, Masks(()))
        self._predictor.set_image(example.image)
        asked = _Recorded(self._predictor)
        ious = click_ious(truths, asked.of(truths))
        segments = tuple(
            segment_of(vocabulary, i + 1, label, float(score), int(mask.sum()))
            for i, (label, score, mask) in enumerate(zip(labels, asked.scores, asked.masks, strict=True))
        )
        return ClickedSegmentation(
            example.image,
            "instance",
            nothing,
            segments,
            vocabulary,
            Masks.encode(asked.masks),
            ious=tuple(map(tuple, ious)),
            predicted=asked.predicted,
            true=asked.true,
        )


class _Recorded:
    """A predictor whose answers to first clicks are kept."""

    def __init__(self, predictor: PromptPredictor):
        self._predictor, self._first = predictor, True

    def of(self, truths: np.ndarray) -> FedBack:
        self._truths = truths
        return FedBack(self)

    def predict(self, **prompts):
        answer = self._predictor.predict(**prompts)
        if self._first:
            self._first = False
            best = answer.iou.argmax(1)
            self.masks, self.scores = answer.masks[np.arange(len(best)), best], answer.iou.max(1)
            self.predicted = answer.iou.reshape(-1)
            pairs = ((truth, mask) for truth, masks in zip(self._truths, answer.masks, strict=True) for mask in masks)
            self.true = np.array([iou(*pair) for pair in pairs], np.float32)
        return answer


def objects_of(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Masks bool[P, H, W] of the objects of an image that have a pixel, and their categories."""
    if example.masks is None:
        masks = np.arange(len(example.labels))[:, None, None] == example.segments
    else:
        masks = np.asarray(example.masks) != 0
    masks = masks.reshape(len(example.labels), *example.image.shape[:2])
    some = masks.any((1, 2))
    return masks[some], np.asarray(example.labels)[some]
