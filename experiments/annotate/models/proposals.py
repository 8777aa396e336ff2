"""Masks for boxes by a model that answers no prompts: of its proposals, those that fit the boxes (MQ-Former, 3.4)."""

import jax
import numpy as np

from data.readers.coco.prompts import CocoPrompts
from data.source import category_indices
from dataseg_jax.inference.box_masks import box_masks
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.results.rle import Masks
from experiments.annotate.annotation import Annotation, Counts, Item
from experiments.annotate.models.boxes import crowd, usable_boxes


class Proposals:
    """For every box the mask of the proposal that fits it best, one to one within an image, cut at the box.

    Args:
      predictor: with the words of the source.
      source: of boxes.
      batch_size: images per forward pass.
      min_iou: of a box with that of its proposal; else it becomes a crowd of all the box.
      dataset: whose modules to use, of a model with dataset-specific ones.
    """

    def __init__(self, predictor: Predictor, source: CocoPrompts, batch_size: int, min_iou: float, dataset: str | None):
        self._predictor, self._source = predictor, source
        self.batch_size, self._min_iou, self._dataset = batch_size, min_iou, dataset

    def annotate(self, items: list[Item], counts: Counts) -> list[list[Annotation]]:
        """The annotations of each image; see `Annotator`."""
        checkpoint, words = self._predictor.checkpoint, self._source.vocabulary
        fitted = [fit(item.image, checkpoint.image_size, checkpoint.spec.fill) for item in items]
        proposals = self._predictor.propose(fitted, words, "instance", self.batch_size, self._dataset)
        class_logits, mask_logits = jax.device_get(proposals[:2])
        made = []
        for item, (_, extent), *logits in zip(items, fitted, class_logits, mask_logits, strict=False):
            made.append(self._one(item, (*logits, extent), counts))  # A last batch is padded: more logits than images.
        return made

    def _one(self, item: Item, proposed: tuple, counts: Counts) -> list[Annotation]:
        record, size = item.record, item.image.shape[:2]
        boxes, usable = usable_boxes(record, size)
        labels = category_indices(self._source, record, record.categories[usable])
        found = box_masks(*proposed, size, boxes[usable], labels, self._min_iou)
        found = dict(zip(np.flatnonzero(usable).tolist(), found, strict=True))
        counts.drop("unusable", (~usable).sum())
        counts.drop("no_fit", sum(mask is None for mask in found.values()))
        made = []
        for place, row in enumerate(record.segment_ids.tolist()):
            own, mask = self._source.annotation_id(row), found.get(place)
            if mask is None:
                made += crowd(own, record, place, boxes[place], size)
                continue
            fields = {"area": int(mask.mask.sum()), "predicted_iou": round(mask.iou, 4)}
            code = Masks.encode([mask.mask]).rle[0]
            made.append(Annotation(own, int(record.categories[place]), code, tuple(record.boxes[place]), fields))
            counts.masks += 1
            counts.iou += mask.iou
        return made
