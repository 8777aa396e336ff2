"""Suppression against the greedy loop, to the last index."""

import numpy as np
import pytest

from dataseg_jax.inference.promptable.automatic.nms import nms
from tests.dataseg_jax.inference.promptable.automatic import oracle


def boxes_of(rng, n, side, largest, kind=np.int64):
    low = rng.integers(0, side, (n, 2))
    return np.concatenate([low, low + rng.integers(0, largest + 1, (n, 2))], 1).astype(kind)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 300])
def test_equal_to_the_loop_with_ties_and_boxes_of_no_area(n, seed):
    rng = np.random.default_rng([n, seed])
    boxes = boxes_of(rng, n, 30, 12)
    boxes[rng.random(n) < 0.1] = boxes[0]  # Equal ones.
    scores = np.float32(rng.integers(0, 8, n) / 8)  # Ties.
    threshold = rng.choice([0, 0.1, 0.3, 0.5, 0.7, 0.9, 1])
    kept, dropped = nms(boxes, scores, threshold)
    assert kept.tolist() == oracle.nms(boxes, scores, threshold) and dropped == 0


def test_equal_to_the_loop_beyond_one_block():
    rng = np.random.default_rng(0)
    boxes, scores = boxes_of(rng, 1300, 150, 60), np.float32(rng.random(1300))
    kept, _ = nms(boxes, scores, 0.5)
    expected = oracle.nms(boxes, scores, 0.5)
    assert kept.tolist() == expected and 300 < len(expected) < 1200
    halves = boxes / 2 + 0.25  # Exact in float32, as are its products.
    assert nms(halves, scores, 0.5)[0].tolist() == expected


def test_a_long_chain_of_suppressions():
    """Each box suppresses the next alone, so every other one stays: the deepest dependency there is."""
    left = 10 * np.arange(300)
    boxes = np.stack([left, 0 * left, left + 16, 0 * left + 1], 1)  # Neighbours have 6 of 26 pixels in common.
    kept, _ = nms(boxes, -np.arange(300), 0.2)
    assert kept.tolist() == list(range(0, 300, 2))


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
def test_an_iou_equal_to_the_threshold(threshold):
    """A float32 IoU of .1 is above .1 as a number of the host, one of .7 is not: as torchvision compares them."""
    tenths = round(threshold * 10)
    boxes, scores = [[0, 0, 10, 1], [0, 0, tenths, 1]], [1, 0]
    kept, _ = nms(boxes, scores, threshold)
    assert kept.tolist() == oracle.nms(boxes, scores, threshold)
    assert len(kept) == (1 if float(np.float32(threshold)) > threshold else 2)


def test_padding_and_order_change_nothing():
    rng = np.random.default_rng(1)
    boxes, scores = boxes_of(rng, 100, 40, 20), rng.permutation(100) / 100
    kept, _ = nms(boxes, scores, 0.4)
    order = rng.permutation(100)
    moved, _ = nms(boxes[order], scores[order], 0.4)
    assert order[moved].tolist() == kept.tolist()
    far = np.concatenate([boxes, boxes + 1000])
    both, _ = nms(far, np.concatenate([scores, scores - 2]), 0.4)
    assert both.tolist() == [*kept, *(kept + 100)]


def test_the_limit_looks_at_the_best_and_counts_the_others():
    rng = np.random.default_rng(2)
    boxes, scores = boxes_of(rng, 50, 40, 20), np.float32(rng.integers(0, 5, 50))
    best = np.argsort(-scores, kind="stable")[:20]
    kept, dropped = nms(boxes, scores, 0.4, limit=20)
    assert dropped == 30
    assert kept.tolist() == best[oracle.nms(boxes[best], scores[best], 0.4)].tolist()
    assert nms(boxes, scores, 0.4, limit=50)[1] == 0


def test_no_boxes():
    kept, dropped = nms(np.zeros((0, 4)), np.zeros(0), 0.5)
    assert kept.shape == (0,) and kept.dtype == np.int64 and dropped == 0
