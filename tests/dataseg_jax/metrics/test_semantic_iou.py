"""Mean IoU against counting pixel by pixel."""

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import SemanticIoU


def test_miou_equals_pixel_by_pixel_count():
    rng = np.random.default_rng(2)
    k, names = 5, ("a", "b", "c", "d", "e")
    state, halves = SemanticIoU(k, names), [SemanticIoU(k, names), SemanticIoU(k, names)]
    gts, preds = [], []
    for n in range(6):
        gt = np.kron(rng.choice([0, 1, 2, 3, 255, -1], (4, 5)), np.ones((5, 6), int))  # Class 4 is never there,
        pred = np.where(rng.random(gt.shape) < 0.6, gt, rng.choice([0, 1, 2, 4, 255], gt.shape))  # but predicted.
        gts.append(gt.ravel())
        preds.append(pred.ravel())
        state.update(gt, pred)
        halves[n % 2].update(gt.astype(np.int16), pred.astype(np.int16))
    gt, pred = np.concatenate(gts), np.concatenate(preds)
    gt, pred = gt[(gt >= 0) & (gt < k)], pred[(gt >= 0) & (gt < k)]
    iou = [((gt == c) & (pred == c)).sum() / ((gt == c) | (pred == c)).sum() for c in range(4)]
    recall = [(pred[gt == c] == c).mean() for c in range(4)]
    share = [(gt == c).mean() for c in range(4)]
    result = state.compute()
    assert result["miou"] == pytest.approx(np.mean(iou), rel=1e-12)
    assert result["pixel_accuracy"] == pytest.approx((gt == pred).mean(), rel=1e-12)
    assert result["mean_accuracy"] == pytest.approx(np.mean(recall), rel=1e-12)
    assert result["frequency_weighted_iou"] == pytest.approx(np.dot(share, iou), rel=1e-12)
    assert result["n"] == 4 and list(result["per_class"]) == ["a", "b", "c", "d"]
    np.testing.assert_allclose([row["iou"] for row in result["per_class"].values()], iou)
    assert halves[1].merge(halves[0]).compute() == result


def test_unpredicted_pixels_are_misses_and_nobodys_false_positives():
    state = SemanticIoU(2, ("a", "b"))
    state.update(np.array([[0, 0, 0, 0, 1, 1]]), np.array([[0, -1, 255, 0, 1, 1]]))
    result = state.compute()
    assert result["per_class"]["a"]["iou"] == 0.5
    assert result["per_class"]["b"]["iou"] == 1.0
    assert result["pixel_accuracy"] == pytest.approx(4 / 6)


def test_miou_void_values():
    many = SemanticIoU(300)
    many.update(np.array([[255, 299]]), np.array([[255, 299]]))  # With 300 classes 255 is one of them.
    assert many.compute()["n"] == 2
    zero = SemanticIoU(3, ignore=(0,))
    zero.update(np.array([[0, 1, 2]]), np.array([[1, 1, 0]]))
    assert zero.compute()["miou"] == 0.5
    with pytest.raises(InputError, match="prediction has the value 3; it must be a category 0..2 or void"):
        SemanticIoU(3).update(np.array([[0, 1]]), np.array([[0, 3]]))
    with pytest.raises(InputError, match="ground truth has the value -7"):
        SemanticIoU(3).update(np.array([[-7, 1]]), np.array([[0, 1]]))
    assert SemanticIoU(3).compute() == {"n": 0, "per_class": {}}


def test_states_of_different_categories_do_not_merge():
    with pytest.raises(InputError):
        SemanticIoU(2, ("a", "b")).merge(SemanticIoU(2, ("b", "a")))
