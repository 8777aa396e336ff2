"""Automatic masks and simulated clicks with the real predictor, on random weights."""

import numpy as np

from dataseg_jax import generate_masks
from dataseg_jax.metrics.clicks import ClickIoU, FedBack, click_ious
from tests.dataseg_jax.inference.promptable.test_prompt_predictor import IMAGE, SIZE, new_predictor

# Of random weights: whatever they answer passes.
OPTIONS = dict(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, crop_n_layers=1)


class Slow:
    """The same answers by the one method that the original has."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.set_image = predictor.set_image

    def predict(self, *, points, labels, multimask, return_logits):
        assert return_logits
        low_res, iou = self._predictor.predict_low_res(points, labels, multimask=multimask)
        height, width = self._predictor._frame.size
        full = np.stack([np.asarray(self._predictor.upscale(one))[:, :height, :width] for one in low_res])
        return full, iou, low_res


def test_automatic_masks_by_the_fast_and_by_the_plain_way():
    predictor = new_predictor()
    fast, plain = (generate_masks(which, IMAGE, **OPTIONS) for which in (predictor, Slow(predictor)))
    assert len(fast) == len(plain) > 0
    for one, other in zip(fast, plain, strict=True):
        assert one.keys() == other.keys() and one["bbox"] == other["bbox"] and one["area"] == other["area"]
        assert one["segmentation"].shape == SIZE
        np.testing.assert_array_equal(one["segmentation"], other["segmentation"])
        assert one["area"] == one["segmentation"].sum()


def test_masks_of_the_image_are_the_upscaled_logits_above_zero():
    predictor = new_predictor()
    points, labels = np.array([[[20.0, 30.0]], [[60.0, 10.0]]]), np.array([[1], [1]])
    answer = predictor.predict(points, labels)
    low_res, iou = predictor.predict_low_res(points, labels)
    np.testing.assert_array_equal(answer.low_res, low_res)
    np.testing.assert_array_equal(answer.iou, iou)
    for masks, logits in zip(answer.masks, low_res, strict=True):
        np.testing.assert_array_equal(masks, np.asarray(predictor.upscale(logits))[:, : SIZE[0], : SIZE[1]] > 0)


def test_simulated_clicks():
    truths = np.zeros((2, *SIZE), bool)
    truths[0, 10:30, 10:40], truths[1, 20:45, 50:75] = True, True
    ious = click_ious(truths, FedBack(new_predictor()), most=5)
    state = ClickIoU(5)
    for of_object in ious:
        state.update(of_object)
    scores = state.compute()
    assert len(ious) == 2 and 0 <= scores["miou_1"] <= 1 and scores["objects"] == 2
