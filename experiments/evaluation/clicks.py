"""Scores a model by clicks: every object of an image is clicked on, and its mask is compared click by click.

The clicks are the standard ones (`metrics.clicks`): the centre of the object, then of the largest error.
"""

import dataclasses
import itertools

import numpy as np

from data.example import Example
from dataseg_jax.inference.promptable import PromptedMasks, PromptPredictor
from dataseg_jax.inference.vocabularies import Vocabularies
from dataseg_jax.metrics.clicks import AT, FedBack, click_ious, iou
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segmentation, segment_of
from dataseg_jax.text import Vocabulary
from experiments.evaluation.comparisons.prompt_baselines import box_of


@dataclasses.dataclass(frozen=True)
class ClickedSegmentation(Segmentation):
    """The masks after a first click on each object of an image, and how they went on.

    Attributes:
      ious: of each object after each click.
      answers: IoUs as predicted and as they are, float32[2, n], of the answers to the first clicks, as many as
        `metrics.clicks.AT` has, on every object, and of the answer to its box.
      candidates: the same of every candidate of every first click, [P, C] flattened.
      of_boxes: IoU of each object's mask from its true box, the one of the highest predicted IoU of three.
      right: bool[2, P], whether the answer to the first click has the object's category: the answer of the highest
        predicted IoU, and that of the highest true one. None: the model has no words.
    """

    ious: tuple[tuple[float, ...], ...] = ()
    answers: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((2, 0), np.float32))
    candidates: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((2, 0), np.float32))
    of_boxes: tuple[float, ...] = ()
    right: np.ndarray | None = None


class Clicker:
    """Clicks on the objects of images; takes the place of a `Predictor` for datasets that are scored by clicks."""

    devices = 1  # That share a batch: none does.

    def __init__(self, model: ModelSpec, image_size: int, vocabularies: Vocabularies | None = None):
        """The model without parameters, see `use`; `vocabularies` of one with words. Raises InputError if it answers no
        prompts."""
        self._predictor = PromptPredictor(None, model, image_size, vocabularies)
        # A model that was trained with one answer to a first prompt has no three.
        self._multimask = model.interaction.get("multimask", True)

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
        asked = _Recorded(self._predictor, truths, vocabulary, self._multimask)
        clicked = FedBack(asked)
        ious = click_ious(truths, clicked)
        of_boxes = self._of_boxes(truths)
        first = slice(max(AT))
        of_clicks = (zip(clicked.predicted[i][first], ious[i][first], strict=True) for i in range(len(truths)))
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
            answers=np.array([*itertools.chain(*of_clicks), *of_boxes], np.float32).T,
            candidates=asked.candidates,
            of_boxes=tuple(true for _, true in of_boxes),
            right=None if asked.labels is None else asked.labels == labels,
        )

    def _of_boxes(self, truths: np.ndarray) -> list[tuple[float, float]]:
        """The predicted and the true IoU of each object's mask from its true box."""
        boxes = np.array([box_of(truth) for truth in truths], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        answer = self._predictor.predict(boxes=boxes, multimask=self._multimask)
        best = np.arange(len(boxes)), answer.iou.argmax(1)
        true = (iou(*pair) for pair in zip(truths, answer.masks[best], strict=True))
        return list(zip(answer.iou[best].tolist(), true, strict=True))


class _Recorded:
    """A predictor whose answers to the first click on each object are kept, with categories where it has words."""

    def __init__(self, predictor: PromptPredictor, truths: np.ndarray, vocabulary: Vocabulary, multimask: bool):
        self._predictor, self._truths, self._vocabulary = predictor, truths, vocabulary
        self._multimask = multimask
        self.masks, self.scores, self.labels, self.candidates = (None,) * 4

    def predict(self, **prompts):
        if self.masks is not None:
            return self._predictor.predict(**prompts)
        prompts["multimask"] &= self._multimask
        labels = None
        if self._predictor.vocabularies is None:
            answer = self._predictor.predict(**prompts)
        else:
            *answer, labels, _ = self._predictor.predict_named(self._vocabulary, **prompts)
            answer = PromptedMasks(*answer)
        pairs = zip(self._truths, answer.masks, strict=True)
        true = np.array([[iou(truth, mask) for mask in masks] for truth, masks in pairs])
        every, best = np.arange(len(true)), answer.iou.argmax(1)
        self.masks, self.scores = answer.masks[every, best], answer.iou[every, best]
        if labels is not None:
            self.labels = np.stack([labels[every, best], labels[every, true.argmax(1)]])
        self.candidates = np.stack([answer.iou, true]).reshape(2, -1).astype(np.float32)
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
