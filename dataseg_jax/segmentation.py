"""Answers as people use them: segments of one picture, with names, scores and an overlay."""

import dataclasses
from functools import partial

import jax
import numpy as np

from dataseg_jax import palette, postprocess, visualise
from dataseg_jax.inference import paste
from dataseg_jax.text import Vocabulary

BUCKET = 64  # Pictures' own sizes are rounded up to a multiple of this, so that few programs serve all of them.
LARGEST_PASTE = 2**26  # Mask logits (N x H x W x pictures) that may exist together at the pictures' own size.


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment of an answer; `id` is its value in the id map, or its position among instance masks."""

    id: int
    category: int
    name: str
    is_thing: bool
    score: float | None
    area: int


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The answer for one picture.

    Attributes:
      task: "panoptic", "semantic" or "instance".
      ids: int32[H, W], 0 = void, else a segment's id; for the instance task the segment of the best score on top.
      segments: the segments, by id.
      masks: bool[n, H, W] for the instance task (they may overlap), else None.
      vocabulary: the categories that were asked for.
    """

    image: np.ndarray
    task: str
    ids: np.ndarray
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    masks: np.ndarray | None = None

    @property
    def categories(self) -> np.ndarray:
        """int32[H, W]: the category index of every pixel, -1 = void."""
        table = np.full(max([s.id for s in self.segments], default=0) + 1, -1, np.int32)
        for segment in self.segments:
            table[segment.id] = segment.category
        return table[self.ids]

    def overlay(self, legend: bool = True) -> np.ndarray:
        """The picture with its segments drawn on it and a legend, uint8[H', W', 3]."""
        spoken = self.vocabulary.spoken
        colours = palette.palette(spoken)
        if self.masks is not None:
            labels = [(spoken[s.category], s.score) for s in self.segments]
            return visualise.instance_overlay(self.image, self.masks, labels, colours=colours, legend=legend)
        labels = {s.id: (spoken[s.category], s.score) for s in self.segments}
        return visualise.overlay(self.image, self.ids, labels, colours=colours, legend=legend)


@partial(jax.jit, static_argnames=("task", "size"))
def _answer(class_logits, mask_logits, fitted, original, mergeable, score, overlap, task, size):
    masks = paste(mask_logits, fitted, original, size)
    if task == "semantic":
        return postprocess.semantic(class_logits, masks, mergeable, size)
    if task == "instance":
        return postprocess.instance(class_logits, masks, mergeable, size)
    return postprocess.panoptic(class_logits, masks, mergeable, size, score, overlap)


def answers(
    images, class_logits, mask_logits, fitted, mergeable, vocabulary, task, score, overlap
) -> list[Segmentation]:
    """Proposals of fitted pictures -> segmentations at the pictures' own sizes, as many at a time as memory allows."""
    original = np.array([image.shape[:2] for image in images], np.int32)
    fitted = np.array(fitted, np.int32)
    side = -(-int(original.max()) // BUCKET) * BUCKET
    at_once = max(1, LARGEST_PASTE // (class_logits.shape[1] * side * side))
    results = []
    for first in range(0, len(images), at_once):
        part = slice(first, first + at_once)
        out = _answer(
            class_logits[part],
            mask_logits[part],
            fitted[part],
            original[part],
            mergeable,
            score,
            overlap,
            task,
            (side, side),
        )
        out = jax.device_get(out)
        for i, image in enumerate(images[part]):
            results.append(_segmentation(image, jax.tree.map(lambda x, i=i: x[i], out), vocabulary, task))
    return results


def _segmentation(image, out, vocabulary: Vocabulary, task: str) -> Segmentation:
    height, width = image.shape[:2]

    def segment(id, category, score, area):
        category = int(category)
        return Segment(id, category, vocabulary.names[category], vocabulary.is_thing[category], score, int(area))

    if task == "semantic":
        ids = out[:height, :width] + 1
        present, areas = np.unique(ids, return_counts=True)
        segments = [segment(int(k), k - 1, None, a) for k, a in zip(present, areas, strict=True)]
        return Segmentation(image, task, ids, tuple(segments), vocabulary)
    if task == "instance":
        keep = np.flatnonzero(out.valid)
        masks = out.masks[keep][:, :height, :width]
        ids = np.zeros((height, width), np.int32)
        for i in range(len(keep))[::-1]:  # The best score last, so that it lies on top.
            ids[masks[i]] = i + 1
        segments = [segment(i + 1, out.labels[n], float(out.scores[n]), masks[i].sum()) for i, n in enumerate(keep)]
        return Segmentation(image, task, ids, tuple(segments), vocabulary, masks)
    ids = out.ids[:height, :width]
    areas = np.bincount(ids.ravel(), minlength=len(out.labels) + 1)
    segments = [
        segment(int(n) + 1, out.labels[n], float(out.scores[n]), areas[n + 1])
        for n in np.flatnonzero(out.valid)
        if areas[n + 1]
    ]
    return Segmentation(image, task, ids, tuple(segments), vocabulary)
