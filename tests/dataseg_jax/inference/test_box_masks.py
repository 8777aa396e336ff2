"""Masks for known boxes: the assignment against all permutations, the masks against those of the instance task."""

import itertools

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from dataseg_jax.inference import box_masks as bm
from dataseg_jax.inference import tiles


def blocks(*corners, size=(16, 24)):
    """Mask logits on the grid, 5 inside of each block (corners in cells) and -5 outside."""
    logits = np.full((len(corners), *size), -5, np.float32)
    for one, (x0, y0, x1, y1) in zip(logits, corners, strict=True):
        one[y0:y1, x0:x1] = 5
    return logits


def logits_of(p):
    """Class logits with background whose softmax is p (and the rest background)."""
    p = np.asarray(p, np.float32)
    return np.log(np.concatenate([p, 1 - p.sum(-1, keepdims=True)], -1) + 1e-9)


def random_boxes(rng, n):
    low = rng.uniform(0, 50, (n, 2))
    return np.concatenate([low, low + rng.uniform(1, 50, (n, 2))], 1)


def test_iou_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 7), random_boxes(rng, 9)
    as_coco = (np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], 1) for x in (a, b))
    np.testing.assert_allclose(bm.pairwise_iou(a, b), mask_utils.iou(*as_coco, [0] * 9), atol=1e-12)
    nothing = np.zeros((1, 4))
    assert bm.pairwise_iou(nothing, nothing) == 0 and bm.pairwise_iou(a, b[:0]).shape == (7, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, 3)
    proposals = np.concatenate([boxes + rng.uniform(-6, 6, boxes.shape), random_boxes(rng, 2)])
    p, labels = rng.dirichlet(np.ones(4), 5), rng.integers(0, 4, 3)
    iou = bm.pairwise_iou(boxes, proposals)
    gain = np.where(iou >= 0.4, iou * p[:, labels].T, 0)
    best = max(sum(gain[t, n] for t, n in enumerate(order)) for order in itertools.permutations(range(5), 3))
    chosen, found = bm.choose(p, proposals, boxes, labels, 0.4)
    used = chosen[chosen >= 0]
    assert len(set(used.tolist())) == len(used)
    assert sum(gain[t, n] for t, n in enumerate(chosen) if n >= 0) == pytest.approx(best)
    for t, n in enumerate(chosen):
        assert found[t] == (iou[t, n] if n >= 0 else 0) and (n < 0 or found[t] >= 0.4)


def test_two_objects_never_get_one_mask_and_the_category_decides():
    proposals = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 60, 60.0]])
    p = np.array([[0.9, 0.05], [0.05, 0.9], [0.5, 0.5]])
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10.0]])
    assert bm.choose(p, proposals, boxes, np.array([0, 1]), 0.5)[0].tolist() == [0, 1]
    assert bm.choose(p, proposals, boxes, np.array([1, 0]), 0.5)[0].tolist() == [1, 0]
    assert bm.choose(p[:1], proposals[:1], boxes, np.array([0, 0]), 0.5)[0].tolist() in ([0, -1], [-1, 0])
    assert bm.choose(p, proposals, boxes[:0], np.zeros(0, int), 0.5)[0].shape == (0,)
    chosen, iou = bm.choose(p, proposals + 6, boxes, np.array([0, 1]), 0.5)  # None fits.
    assert chosen.tolist() == [-1, -1] and iou.tolist() == [0, 0]


@pytest.mark.parametrize(("fitted", "size"), [((48, 64), (48, 64)), ((41, 64), (131, 205)), ((64, 30), (20, 9))])
def test_masks_are_those_of_the_instance_task(fitted, size):
    logits = np.random.default_rng(1).normal(0, 3, (16, 16)).astype(np.float32)
    rows, columns = (
        tiles.axis(0, pixels, pixels, side / (4 * pixels), -(-side // 4))
        for pixels, side in zip(size, fitted, strict=True)
    )
    expected = np.asarray(tiles.sample(logits, rows, columns))
    got, sure = bm.image_mask(logits, fitted, size), np.abs(expected) > 1e-3
    assert got.shape == size and sure.mean() > 0.9
    np.testing.assert_array_equal(got[sure], expected[sure] >= 0)


def test_boxes_of_masks_are_around_their_pixels():
    logits = np.concatenate([blocks((2, 3, 9, 8), (0, 0, 24, 16)), np.full((1, 16, 24), -1, np.float32)])
    boxes = bm.mask_boxes(logits, (64, 96), (64, 96))
    for one, box in zip(logits, boxes, strict=True):
        y, x = np.nonzero(bm.image_mask(one, (64, 96), (64, 96)))
        assert box.tolist() == ([x.min(), y.min(), x.max() + 1, y.max() + 1] if len(x) else [0, 0, 0, 0])
    assert np.abs(boxes[0] - [8, 12, 36, 32]).max() <= 2  # Four pixels a cell.


def test_masks_of_an_image():
    logits = blocks((2, 2, 8, 8), (10, 2, 20, 12), (2, 2, 8, 9))
    class_logits = logits_of([[0.8, 0.1], [0.1, 0.7], [0.3, 0.1]])
    boxes = np.array([[40, 8, 80, 30], [8.5, 8, 32, 32], [80, 50, 96, 64.0]])
    found = list(bm.box_masks(class_logits, logits, (64, 96), (64, 96), boxes, np.array([1, 0, 0]), 0.5))
    assert found[2] is None
    for mask, proposal, box, p in zip(found, (1, 0), boxes, (0.7, 0.8), strict=False):
        whole = bm.image_mask(logits[proposal], (64, 96), (64, 96))
        y, x = np.mgrid[:64, :96]
        inside = (x >= np.floor(box[0])) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        np.testing.assert_array_equal(mask.mask, whole & inside)
        assert mask.iou > 0.5 and mask.probability == pytest.approx(p, abs=1e-5)
    assert found[0].mask.sum() < bm.image_mask(logits[1], (64, 96), (64, 96)).sum()  # It was cut.
