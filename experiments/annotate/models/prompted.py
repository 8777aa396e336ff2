"""Masks for known boxes or points by a model that answers prompts, and the filters that they pass (SAM, section 4)."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as coco

from data.readers.coco.prompts import CocoPrompts
from dataseg_jax.inference.box_masks import pairwise_iou
from dataseg_jax.inference.promptable import PromptPredictor
from dataseg_jax.inference.promptable.automatic.measure import measure
from dataseg_jax.inference.promptable.given import PADDING
from dataseg_jax.results.rle import Masks
from experiments.annotate.annotation import Annotation, Counts, Item
from experiments.annotate.models.boxes import crowd, usable_boxes

OFFSET = 1.0  # Of the stability; that of automatic masks.
_PROMPTS = 64  # Asked at once: as many as one program takes.
_TOGETHER = 16  # Masks that are brought to full size at once. ours: 64 MiB of logits at 1024 x 1024.


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The mask of one prompt: bool[H, W], its corners float[4], its stability and the IoU that the model predicts."""

    mask: np.ndarray
    box: np.ndarray
    stability: float
    iou: float


class Prompted:
    """One mask for each box or each annotation's points: the most certain of three for a single point, which may mean
    several things, and the one that the model gives for an unambiguous prompt otherwise (SAM, section 3).

    There is no suppression of duplicates: each prompt is an object of its own.

    Args:
      predictor: the model.
      source: of boxes or points.
      pred_iou_thresh: a mask's predicted IoU has to be above it.
      stability_score_thresh: its stability has to be at least this.
      min_box_iou: IoU of its box with the given one, at least; of boxes alone.
    """

    batch_size = 1

    def __init__(
        self,
        predictor: PromptPredictor,
        source: CocoPrompts,
        pred_iou_thresh: float,
        stability_score_thresh: float,
        min_box_iou: float | None = None,
    ):
        self._predictor, self._source = predictor, source
        self._iou, self._stability, self._box_iou = pred_iou_thresh, stability_score_thresh, min_box_iou

    def annotate(self, items: list[Item], counts: Counts) -> list[list[Annotation]]:
        """The annotations of each image; see `Annotator`."""
        one = self._boxes if self._source.kind == "boxes" else self._points
        return [one(item, counts) for item in items]

    def _boxes(self, item: Item, counts: Counts) -> list[Annotation]:
        """A mask for each box that the filters leave one; a crowd of all the box for the others."""
        record, size = item.record, item.image.shape[:2]
        boxes, usable = usable_boxes(record, size)
        counts.drop("unusable", (~usable).sum())
        for why in ("unsure", "unstable", "misfit"):
            counts.drop(why, 0)
        found: dict[int, Annotation] = {}
        if usable.any():
            self._predictor.set_image(item.image)
        for places in _parts(np.flatnonzero(usable)):
            low_res, iou = self._predictor.predict_low_res(boxes=boxes[places], multimask=False)
            for place, answer in self._passing(places, low_res[:, 0], iou[:, 0], size, counts):
                if pairwise_iou(boxes[place : place + 1], answer.box[None])[0, 0] < self._box_iou:
                    counts.drop("misfit")
                else:
                    found[place] = self._annotation(item, place, answer, tuple(record.boxes[place]), [], counts)
        made = []
        for place, row in enumerate(record.segment_ids.tolist()):
            own = self._source.annotation_id(row)
            made += [found[place]] if place in found else crowd(own, record, place, boxes[place], size)
        return made

    def _points(self, item: Item, counts: Counts) -> list[Annotation]:
        """A mask for the points of each annotation, unless a filter drops it."""
        record, (height, width) = item.record, item.image.shape[:2]
        given = [self._source.points(row) for row in record.segment_ids.tolist()]
        inside = [bool(((p.xy >= 0) & (p.xy <= (width, height))).all()) for p in given]
        usable = np.array(inside, bool) & ~record.crowd
        for why in ("unsure", "unstable", "outside", "unusable"):
            counts.drop(why, 0)
        counts.drop("unusable", record.crowd.sum())
        counts.drop("outside", (~record.crowd & ~usable).sum())
        if usable.any():
            self._predictor.set_image(item.image)
        found: dict[int, Annotation] = {}
        several = np.array([len(p.labels) > 1 for p in given], bool)
        for places in (*_parts(np.flatnonzero(usable & ~several)), *_parts(np.flatnonzero(usable & several))):
            points, labels = _padded([given[place] for place in places])
            low_res, iou = self._predictor.predict_low_res(points, labels, multimask=len(points[0]) == 1)
            best, every = iou.argmax(1), np.arange(len(places))
            for place, answer in self._passing(places, low_res[every, best], iou[every, best], (height, width), counts):
                box = tuple(coco.toBbox(Masks.encode([answer.mask]).rle[0]).tolist())
                points = given[place].xy.tolist()
                found[place] = self._annotation(item, place, answer, box, points, counts)
        return [found[place] for place in sorted(found)]

    def _passing(self, places: np.ndarray, low_res, iou, size, counts: Counts) -> Iterator[tuple[int, Answer]]:
        """The masks that the model is sure of and that are stable, with the place of each."""
        sure = np.flatnonzero(iou > np.float32(self._iou) if self._iou > 0 else np.ones(len(iou), bool))
        counts.drop("unsure", len(iou) - len(sure))
        for first in range(0, len(sure), _TOGETHER):
            part = sure[first : first + _TOGETHER]
            padded = np.pad(part, (0, _TOGETHER - len(part)), mode="edge")  # One program for any number of masks.
            logits = self._predictor.upscale(low_res[padded])
            found = measure(logits, np.arange(len(part)), size, 0.0, OFFSET)
            for i, place in enumerate(places[part].tolist()):
                stability = float(found.stability[i])
                # An empty mask is none, whatever the threshold.
                if not found.area[i] or not stability >= np.float32(self._stability):
                    counts.drop("unstable")
                    continue
                x0, y0, x1, y1 = found.box[i].tolist()
                mask = found.masks[i, : size[0], : size[1]]
                yield place, Answer(mask, np.array([x0, y0, x1 + 1.0, y1 + 1.0]), stability, float(iou[part[i]]))

    def _annotation(self, item: Item, place: int, answer: Answer, box, points, counts: Counts) -> Annotation:
        record, (height, width) = item.record, item.image.shape[:2]
        counts.masks += 1
        counts.iou += answer.iou
        own = self._source.annotation_id(int(record.segment_ids[place]))
        fields = {
            "area": int(answer.mask.sum()),
            "predicted_iou": answer.iou,
            "point_coords": points,
            "stability_score": answer.stability,
            "crop_box": [0, 0, width, height],
        }
        return Annotation(own, int(record.categories[place]), Masks.encode([answer.mask]).rle[0], box, fields)


def _parts(places: np.ndarray) -> list[np.ndarray]:
    return [places[first : first + _PROMPTS] for first in range(0, len(places), _PROMPTS)]


def _padded(given: list) -> tuple[np.ndarray, np.ndarray]:
    """The points of P prompts as float[P, M, 2] and their labels int[P, M], padded to the longest."""
    most = max(len(p.labels) for p in given)
    points, labels = np.zeros((len(given), most, 2)), np.full((len(given), most), PADDING)
    for i, p in enumerate(given):
        points[i, : len(p.xy)], labels[i, : len(p.labels)] = p.xy, p.labels
    return points, labels
