"""The answers to prompts: masks with predicted IoUs, and as other tools take them."""

from typing import NamedTuple

import numpy as np

from dataseg_jax.results import coco
from dataseg_jax.text import Vocabulary


class PromptedMasks(NamedTuple):
    """C masks for each of P prompts: three, or one."""

    masks: np.ndarray  # bool[P, C, H, W] of the image.
    iou: np.ndarray  # float32[P, C], predicted IoU of each mask with the object.
    low_res: np.ndarray  # float32[P, C, h, w], logits on the model's square; one of them is a mask prompt.

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The mask of the highest predicted IoU of each prompt, bool[P, H, W], and that IoU, float32[P]."""
        return _chosen(self.iou, self.masks, self.iou)

    def to_coco(self, image_id: int = 0, category_id: int = 1) -> list[dict]:
        """The best mask of each prompt as an entry of a COCO results file; the score is the predicted IoU."""
        masks, iou = self.best()
        return coco.mask_results(masks, iou, image_id, [category_id] * len(masks))

    def to_supervision(self):
        """The best mask of each prompt as `supervision.Detections`; confidence is the predicted IoU, class_id 0.

        Raises:
          InputError: supervision is not installed.
        """
        from dataseg_jax.results.exchange import supervision

        masks, iou = self.best()
        return supervision.of_masks(masks, iou, [0] * len(masks))


class NamedMasks(NamedTuple):
    """Masks, and the category of each."""

    masks: np.ndarray  # bool[P, C, H, W] of the image.
    iou: np.ndarray  # float32[P, C], predicted IoU of each mask with the object.
    low_res: np.ndarray  # As in `PromptedMasks`.
    labels: np.ndarray  # int32[P, C], the likeliest category of the vocabulary.
    scores: np.ndarray  # float32[P, C], its probability.

    def best(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the mask of the highest predicted IoU of each prompt: bool[P, H, W], label int32[P], score float32[P]."""
        return _chosen(self.iou, self.masks, self.labels, self.scores)

    def to_coco(self, vocabulary: Vocabulary, image_id: int = 0) -> list[dict]:
        """The best mask of each prompt as an entry of a COCO results file; the score is the category's."""
        masks, labels, scores = self.best()
        return coco.mask_results(masks, scores, image_id, [vocabulary.ids[label] for label in labels])

    def to_supervision(self, vocabulary: Vocabulary):
        """The best mask of each prompt as `supervision.Detections`; confidence is the category's score.

        Raises:
          InputError: supervision is not installed.
        """
        from dataseg_jax.results.exchange import supervision

        masks, labels, scores = self.best()
        return supervision.of_masks(masks, scores, labels, vocabulary)


def _chosen(iou: np.ndarray, *fields: np.ndarray) -> tuple[np.ndarray, ...]:
    rows, best = np.arange(len(iou)), np.asarray(iou).argmax(axis=1)
    return tuple(np.asarray(field)[rows, best] for field in fields)
