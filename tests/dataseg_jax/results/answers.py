"""Small answers of every task, made by hand."""

import numpy as np

from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segmentation, segment_of
from dataseg_jax.text import Vocabulary

SIZE = (20, 30)
VOCABULARY = Vocabulary("v", ("cat", "dog", "grass"), (True, True, False), (3, 7, 40))
IMAGE = np.zeros((*SIZE, 3), np.uint8)


def blobs(*corners):
    """bool[n, H, W]: a mask with a hole for each (x0, y0, x1, y1)."""
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
        mask[(y0 + y1) // 2, (x0 + x1) // 2] = False
    return masks


MASKS = blobs((2, 3, 9, 11), (5, 1, 30, 20), (0, 0, 4, 4))
LABELS, SCORES = (1, 0, 1), (0.9, 0.5, 0.25)
BOXES = ((2.25, 3.5, 9.0, 11.5), (5.0, 1.0, 30.0, 20.0), (0.0, 0.0, 4.5, 4.0))


def instances(task="instance"):
    """Three masks that overlap, of two categories."""
    areas = MASKS.sum((1, 2))
    segments = [segment_of(VOCABULARY, n + 1, LABELS[n], SCORES[n], areas[n], BOXES[n]) for n in range(len(MASKS))]
    ids = np.zeros(SIZE, np.int32)
    for n in reversed(range(len(MASKS))):
        ids[MASKS[n]] = n + 1
    masks = None if task == "detection" else Masks.encode(MASKS)
    return Segmentation(IMAGE, task, ids, tuple(segments), VOCABULARY, masks)


def panoptic():
    """Two things and stuff around them, void where the blobs have holes."""
    ids = np.full(SIZE, 5, np.int32)
    ids[MASKS[1]], ids[MASKS[0]] = 2, 1
    ids[0, 0] = 0
    parts = ((1, 1, 0.9), (2, 0, 0.85), (5, 2, 0.95))
    segments = [segment_of(VOCABULARY, i, label, score, (ids == i).sum()) for i, label, score in parts]
    return Segmentation(IMAGE, "panoptic", ids, tuple(segments), VOCABULARY)


def semantic():
    """As the task makes it: an id is a category's index plus 1."""
    ids = np.where(panoptic().ids == 5, 3, np.where(MASKS[0], 2, 0)).astype(np.int32)
    segments = [segment_of(VOCABULARY, k, k - 1, None, (ids == k).sum()) for k in (2, 3)]
    return Segmentation(IMAGE, "semantic", ids, tuple(segments), VOCABULARY)


def nothing(task="instance"):
    """An answer without a segment."""
    masks = Masks(()) if task == "instance" else None
    return Segmentation(IMAGE, task, np.zeros(SIZE, np.int32), (), VOCABULARY, masks)
