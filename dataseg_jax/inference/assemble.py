"""From the proposals of fitted images to answers at the images' own sizes, a window of pixels at a time.

Windows have one of two sizes, so images of all sizes share two small programs, and memory does not grow with the
number of masks: 12 million pixels and 100 proposals need no more than their answer does.
"""

from functools import partial

import jax
import numpy as np

from dataseg_jax.inference import merged as steps
from dataseg_jax.inference import tiles
from dataseg_jax.inference.postprocess import Thresholds
from dataseg_jax.networks.types import STRIDE
from dataseg_jax.results.proposal_counts import Diagnostic
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segment, Segmentation
from dataseg_jax.text import Vocabulary

SIDES = 64, 256  # Of a window: the first where the whole image fits into it.


def answers(
    images, class_logits, mask_logits, fitted, mergeable, vocabulary: Vocabulary, task: str, thresholds: Thresholds
) -> list[Segmentation]:
    """Proposals -> segmentations.

    Args:
      images: the images, uint8[H, W, 3] each; at most as many as the arrays have rows.
      class_logits, mask_logits: float32[B, N, K+1] and [B, N, h, w].
      fitted: height and width of each image inside the model's square, in pixels.
      mergeable: bool[K].
      task: "panoptic", "semantic" or "instance".
      thresholds: of the instance task, `thresholds.score` drops instances by their score.
    """
    things = answering(vocabulary, len(mergeable))
    slots = _slots(class_logits, mask_logits, mergeable, things, np.float32(thresholds.score), task)
    # All that images need of it besides the masks, in one transfer.
    known = jax.device_get(slots.replace(masks=None))
    results = []
    for i, (image, size) in enumerate(zip(images, fitted, strict=True)):
        mine = jax.tree.map(lambda x, i=i: x[i], known)
        results.append(
            _ASSEMBLE[task](image, mine, _Windows(slots, i, size, image.shape[:2], task), vocabulary, thresholds)
        )
    return results


def answering(vocabulary: Vocabulary, k: int) -> np.ndarray:
    """bool[K]: the categories that instances are of, which are the things; all of them where there is no thing."""
    things = np.zeros(k, bool)
    things[: len(vocabulary)] = vocabulary.is_thing if any(vocabulary.is_thing) else True
    return things


@partial(jax.jit, static_argnames="task")
def _slots(class_logits, mask_logits, mergeable, things, score, task):
    if task == "semantic":
        return steps.semantic_slots(class_logits, mask_logits, mergeable)
    if task == "instance":
        return steps.instance_slots(class_logits, mask_logits, mergeable, answering=things)
    return steps.panoptic_slots(class_logits, mask_logits, mergeable, score)


@partial(jax.jit, static_argnames=("task", "side"))
def _window(slots, image, start, fitted, original, task, side):
    slots = jax.tree.map(lambda x: x[image], slots)
    rows, columns = (
        # Cells in the padding were never supervised: the last cell of the image goes on into them.
        tiles.axis(start[i], side, original[i], fitted[i] / (STRIDE * original[i]), -(-fitted[i] // STRIDE))
        for i in (0, 1)
    )
    if task == "semantic":
        return (steps.semantic_window(slots, rows, columns),)
    if task == "instance":
        masks, *sums = steps.instance_window(slots, rows, columns)
        # Column by column, as run lengths go.
        return jax.numpy.packbits(masks.swapaxes(1, 2), -1), *sums
    return steps.panoptic_window(slots, rows, columns)


class _Windows:
    """All windows of one image, computed ahead of the host that asks for them."""

    def __init__(self, slots, image: int, fitted, size, task: str):
        self.size = size
        self.side = SIDES[max(size) > SIDES[0]]
        self.padded = [-(-n // self.side) * self.side for n in size]
        starts = [(y, x) for y in range(0, size[0], self.side) for x in range(0, size[1], self.side)]
        fitted, size = np.array(fitted, np.int32), np.array(size, np.int32)
        self._parts = [
            (*start, _window(slots, image, np.array(start, np.int32), fitted, size, task, self.side))
            for start in starts
        ]

    def __iter__(self):
        for y, x, part in self._parts:
            yield y, x, jax.device_get(part)

    def joined(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """int32[H, W] of windows side by side, and the sums over all of them of what else they hold."""
        whole, sums = np.empty(self.padded, np.int32), []
        for y, x, (part, *counts) in self:
            whole[y : y + self.side, x : x + self.side] = part
            sums.append(counts)
        height, width = self.size
        return np.ascontiguousarray(whole[:height, :width]), [np.sum(one, 0) for one in zip(*sums, strict=True)]


def _panoptic(image, slots: steps.PanopticSlots, parts: _Windows, vocabulary, thresholds) -> Segmentation:
    owner, (owned, area) = parts.joined()
    valid = steps.panoptic_valid(owned, area, thresholds.overlap)
    ids = np.where(np.append(False, valid), np.arange(len(valid) + 1, dtype=np.int32), 0)[owner]
    segments = [
        _segment(vocabulary, n + 1, slots.labels[n], float(slots.scores[n]), owned[n]) for n in np.flatnonzero(valid)
    ]
    category = slots.labels >= 0
    diagnostic = Diagnostic(
        total=len(valid),
        merged=int((~slots.exists).sum()),
        background=int((slots.exists & ~category).sum()),
        below_score=int((category & ~slots.candidate).sum()),
        no_pixel=int((slots.candidate & (area == 0)).sum()),
        covered=int((slots.candidate & (area > 0) & ~valid).sum()),
        kept=len(segments),
        best_score=float(slots.scores.max()),
        thresholds=thresholds,
    )
    return Segmentation(image, "panoptic", ids, tuple(segments), vocabulary, None, diagnostic)


def _semantic(image, slots: steps.SemanticSlots, parts: _Windows, vocabulary, thresholds) -> Segmentation:
    ids, _ = parts.joined()
    ids += 1
    areas = np.bincount(ids.ravel())
    segments = [_segment(vocabulary, k, k - 1, None, areas[k]) for k in np.flatnonzero(areas)]
    total, kept = len(slots.exists), int(slots.exists.sum())
    diagnostic = Diagnostic(total, total - kept, 0, 0, 0, 0, kept, float(slots.p.max()), thresholds)
    return Segmentation(image, "semantic", ids, tuple(segments), vocabulary, None, diagnostic)


def _instance(image, slots: steps.InstanceSlots, parts: _Windows, vocabulary, thresholds) -> Segmentation:
    (height, width), side = parts.size, parts.side
    packed = np.empty((len(slots.chosen), parts.padded[1], parts.padded[0] // 8), np.uint8)
    sums = []
    for y, x, (part, *counts) in parts:
        packed[:, x : x + side, y // 8 : (y + side) // 8] = part
        sums.append(counts)
    total, area = (np.sum(one, 0) for one in zip(*sums, strict=True))
    order, scores = jax.device_get(steps.instance_order(slots.p, slots.slot, total, area))
    order, scores = order[scores > 0], scores[scores > 0]
    kept = scores > thresholds.score
    chosen = slots.slot[order[kept]]

    ids = np.zeros((width, height), np.int32)
    codes = {}
    for i in range(len(chosen))[::-1]:  # The best score last, so that it lies on top.
        mask = np.unpackbits(packed[chosen[i], :width], axis=-1, count=height).view(bool)
        np.copyto(ids, i + 1, where=mask)
        if chosen[i] not in codes:
            codes[chosen[i]] = Masks.encode([mask.T]).rle[0]
    segments = [
        _segment(vocabulary, i + 1, slots.labels[pair], float(score), area[slots.slot[pair]])
        for i, (pair, score) in enumerate(zip(order[kept], scores[kept], strict=True))
    ]
    diagnostic = Diagnostic(
        total=len(slots.p),
        merged=0,
        background=0,
        below_score=int((~kept).sum()),
        no_pixel=len(slots.p) - len(scores),
        covered=0,
        kept=len(segments),
        best_score=float(scores.max(initial=0)),
        thresholds=thresholds,
    )
    masks = Masks(tuple(codes[n] for n in chosen))
    ids = np.ascontiguousarray(ids.T)
    return Segmentation(image, "instance", ids, tuple(segments), vocabulary, masks, diagnostic)


def _segment(vocabulary: Vocabulary, id: int, category: int, score: float | None, area: int) -> Segment:
    category = int(category)
    name, is_thing = vocabulary.names[category], vocabulary.is_thing[category]
    return Segment(int(id), category, name, is_thing, score, int(area))


_ASSEMBLE = {"panoptic": _panoptic, "semantic": _semantic, "instance": _instance}
