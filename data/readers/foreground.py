"""Foreground (salient object) sets: images and gray masks of what stands out, matched by name."""

import numpy as np

from data.example import NO_TARGET, Example
from data.pipeline.regions import boxes_and_areas
from data.readers.label_png import LabelPng
from data.source import Record, require_same_size
from dataseg_jax.io.images import decode_gray
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

ABOVE = 128  # Brighter pixels are foreground, as the field's tools take them.


class ForegroundPng(LabelPng):
    """Images with a gray mask each; all of the foreground is one target of the vocabulary's one word.

    DUTS, HRSOD, UHRSD, DIS5K, MSRA10K, COIFT and ThinObject5K come so, in folders of different names: `images` and
    `masks`. Everything is labelled: an image without a bright pixel has no target.

    Raises:
      InputError: as `LabelPng`.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        masks: str = "masks",
        split: str = "",
        limit: int = 0,
    ):
        super().__init__(root, vocabulary, name=name, images=images, masks=masks, split=split, limit=limit)
        self.label_values = [[1, 0]]

    @staticmethod
    def own_vocabulary(root: str, name: str, annotations: str) -> Vocabulary:
        """The one word, "foreground"."""
        return load_vocabulary("foreground")

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return (decode_gray(content, file, self.limits) > ABOVE).astype(np.uint8)

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray) -> Example:
        require_same_size(record, image, mask)
        segments = np.where(mask > 0, 0, NO_TARGET).astype(np.int32)
        labels = np.zeros(int(mask.any()), np.int32)
        boxes, _ = boxes_and_areas(segments, len(labels))
        return Example(image, record.image_id, record.image, labels, boxes, segments)
