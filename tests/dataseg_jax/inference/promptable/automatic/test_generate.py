"""Automatic masks against the loops of `oracle`: which, in which order, and every field of the records."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from pycocotools import mask as coco

import dataseg_jax
from dataseg_jax.inference.promptable.automatic import SA_1B, Settings, generate, generate_masks
from tests.dataseg_jax.inference.promptable.automatic import oracle
from tests.dataseg_jax.inference.promptable.automatic.fake import Fake, scene
from tests.messages import one_line


class OnDevice(Fake):
    """The same answers in two steps: masks of a high predicted IoU alone are brought to (more than) full size."""

    def predict(self, *args, **kwargs):
        raise AssertionError("masks that are dropped at once need not be brought to full size")

    def predict_low_res(self, points, labels, multimask):
        logits, iou, _ = super().predict(points, labels, multimask=multimask, return_logits=True)
        return jnp.asarray(logits), jnp.asarray(iou)

    def upscale(self, low_res):
        self.upscaled = getattr(self, "upscaled", 0) + len(low_res)
        return jnp.pad(low_res, ((0, 0), (0, 5), (0, 3)), constant_values=9.0)


def same(records, expected):
    assert len(records) == len(expected)
    for record, one in zip(records, expected, strict=True):
        x0, y0, x1, y1 = one["box"]
        left, top, right, bottom = one["crop"]
        assert (record["segmentation"] == one["mask"]).all() and record["area"] == one["mask"].sum()
        assert record["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert record["crop_box"] == [left, top, right - left, bottom - top]
        assert record["point_coords"] == [pytest.approx(one["point"], abs=1e-9)]
        assert np.float32(record["predicted_iou"]) == one["iou"]
        assert np.array_equal(np.float32(record["stability_score"]), one["stability"], equal_nan=True)


CASES = {
    "default filters": ((100, 140), 0.0, {"points_per_side": 8}),
    "a batch that is not full": ((90, 90), 0.0, {"points_per_side": 5, "points_per_batch": 7}),
    "wide": ((40, 200), 0.3, {"points_per_side": 6, "stability_score_thresh": 0.6}),
    "tall, crops": ((200, 60), 0.0, {"points_per_side": 8, "crop_n_layers": 1, "pred_iou_thresh": 0.84}),
    "two layers of coarser grids": (
        (150, 190),
        0.0,
        {"points_per_side": 8, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2, "pred_iou_thresh": 0.8},
    ),
    "noise": ((80, 110), 0.6, {"points_per_side": 7, "stability_score_thresh": 0.3, "stability_score_offset": 0.2}),
    "small regions": (
        (110, 150),
        0.8,
        {"points_per_side": 8, "crop_n_layers": 1, "stability_score_thresh": 0.2, "min_mask_region_area": 30},
    ),
    "many small regions": (
        (60, 64),
        0.9,
        {"points_per_side": 5, "min_mask_region_area": 60, "stability_score_thresh": 0, "pred_iou_thresh": 0.8},
    ),
    "no filter": ((60, 70), 0.2, {"points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0}),
    "strict suppression": ((100, 100), 0.1, {"points_per_side": 6, "box_nms_thresh": 0.0, "pred_iou_thresh": 0.8}),
    "SA-1B": ((170, 200), 0.0, SA_1B | {"points_per_side": 8, "pred_iou_thresh": 0.8}),
}


@pytest.mark.parametrize("kind", [Fake, OnDevice])
@pytest.mark.parametrize("case", CASES)
def test_equal_to_the_loops(case, kind):
    size, noise, options = CASES[case]
    image = scene(size, seed=len(case))
    expected = oracle.generate(Fake(noise), image, **options)
    records = generate_masks(kind(noise), image, **options)
    assert len(expected) > 1
    same(records, expected)


def test_every_filter_has_dropped_something_and_all_are_counted():
    total = None
    for size, noise, options in CASES.values():
        found = generate(Fake(noise), scene(size), Settings(**options))
        numbers = dataclasses.asdict(found.counts)
        assert numbers.pop("given") == sum(numbers.values()) + len(found.records)
        total = found.counts if total is None else total + found.counts
    numbers = dataclasses.asdict(total)
    assert numbers.pop("over_limit") == 0
    assert all(numbers.values()), numbers


def test_masks_at_the_edge_of_a_crop_are_dropped_but_not_those_at_the_edge_of_the_image():
    image = np.zeros((200, 300, 3), np.uint8)
    image[60:140, 100:200] = 50  # Cut by every crop of layer 1.
    image[5:30, 5:40] = 90  # At the image's edge, within one crop.
    options = {"points_per_side": 10, "crop_n_layers": 1, "pred_iou_thresh": 0, "box_nms_thresh": 1}
    records = generate_masks(Fake(), image, crop_nms_thresh=1, **options)
    same(records, oracle.generate(Fake(), image, crop_nms_thresh=1, **options))
    crops_of = [
        {tuple(record["crop_box"]) for record in records if record["bbox"] == box}
        for box in ([100, 60, 99, 79], [5, 5, 34, 24])
    ]
    assert crops_of[0] == {(0, 0, 300, 200)}
    assert {(0, 0, 300, 200), (0, 0, 184, 134)} == crops_of[1]


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (5, 4)])
def test_tiny_images(size):
    """Crops without a pixel, of which the original cannot make an embedding, are left out."""
    records = generate_masks(Fake(), np.full((*size, 3), 50, np.uint8), 2, 2, pred_iou_thresh=0)
    assert all(record["segmentation"].shape == size and record["area"] for record in records) and records


def test_an_image_in_which_nothing_is_found():
    for options in ({}, {"crop_n_layers": 1, "min_mask_region_area": 10}):
        found = generate(Fake(), scene((50, 60)), Settings(points_per_side=4, pred_iou_thresh=1, **options))
        assert found.records == [] and found.counts.given == found.counts.unsure > 0


def refined(logits):
    """A refinement for fakes: a mask's own logits decide how much it shrinks, and its IoU."""
    return logits - 0.3, np.float32(0.7 + 0.3 * (logits > 0).mean((-2, -1)))


class RefiningOnDevice(OnDevice):
    def predict_low_res(self, points, labels, multimask, masks=None):
        if masks is None:
            return super().predict_low_res(points, labels, multimask)
        assert not multimask and len(points) == len(labels) == len(masks)
        expected = np.stack([logits for x, y in points[::3, 0] for logits in self._one(x, y)[0]])
        np.testing.assert_array_equal(masks, expected)  # Each with the point that it answers.
        logits, iou = refined(np.asarray(masks))
        return logits[:, None], iou[:, None]


class Refined(Fake):
    """What is left to do for the loops."""

    def _one(self, x, y):
        return refined(super()._one(x, y)[0])


def test_masks_are_refined_before_any_filter():
    image = scene((90, 110), things=9)
    options = {"points_per_side": 7, "points_per_batch": 16, "pred_iou_thresh": 0.75, "crop_n_layers": 1}
    expected = oracle.generate(Refined(0.2), image, **options)
    assert len(expected) > 1
    same(generate_masks(RefiningOnDevice(0.2), image, use_m2m=True, **options), expected)
    one_line(lambda: generate_masks(Fake(), image, use_m2m=True), "use_m2m=True: this predictor cannot refine masks")


def test_only_masks_of_a_high_iou_are_brought_to_full_size():
    predictor = OnDevice()
    found = generate(predictor, scene((60, 60)), Settings(points_per_side=8, points_per_batch=16))
    left = found.counts.given - found.counts.unsure
    assert found.counts.given == 192 and left <= predictor.upscaled <= left + 4 * 15 < 192  # Four batches, by 16.


def test_logits_are_compared_with_the_threshold_of_the_predictor():
    class Shifted(Fake):
        mask_threshold = 2.0

        def predict(self, **prompts):
            logits, iou, low_res = super().predict(**prompts)
            return logits + np.float32(self.mask_threshold), iou, low_res

    image, options = scene((60, 80)), {"points_per_side": 5, "pred_iou_thresh": 0.8}
    expected = oracle.generate(Fake(), image, **options)
    assert len(expected) > 2
    same(generate_masks(Shifted(), image, **options), expected)


def test_grids_of_ones_own():
    image, points = scene((60, 80)), [np.array([[0.1, 0.2], [0.7, 0.4]]), np.array([[0.5, 0.5]])]
    options = {"point_grids": points, "crop_n_layers": 1, "points_per_side": None, "pred_iou_thresh": 0}
    predictor = Fake()
    records = generate_masks(predictor, image, stability_score_thresh=0, **options)
    assert predictor.asked == [2, 1, 1, 1, 1] and records
    grid = generate_masks(Fake(), image, points_per_side=3)
    same_grid = np.array(oracle.grid(3))
    again = generate_masks(Fake(), image, points_per_side=None, point_grids=[same_grid])
    assert [record["point_coords"] for record in grid] == [record["point_coords"] for record in again] != []


def test_forms_of_the_masks():
    image, options = scene((70, 90)), {"points_per_side": 6, "pred_iou_thresh": 0.8}
    dense, plain, text = (
        generate_masks(Fake(), image, output_mode=mode, **options)
        for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
    )
    assert len(dense) > 2
    for record, runs, code in zip(dense, plain, text, strict=True):
        mask = record["segmentation"]
        assert mask.dtype == bool and mask.shape == (70, 90)
        expected = coco.encode(np.asfortranarray(mask, np.uint8))
        assert code["segmentation"] == {"size": [70, 90], "counts": expected["counts"].decode()}
        assert runs["segmentation"]["size"] == [70, 90]
        assert coco.frPyObjects(runs["segmentation"], 70, 90)["counts"] == expected["counts"]
        assert {k: v for k, v in record.items() if k != "segmentation"} == {
            k: v for k, v in code.items() if k != "segmentation"
        }


def test_what_a_limit_cuts_off_is_said():
    image, options = scene((100, 140)), {"points_per_side": 8, "pred_iou_thresh": 0.8}
    with pytest.warns(UserWarning, match="masks were dropped unseen: more than nms_limit"):
        records = generate_masks(Fake(), image, nms_limit=20, **options)
    whole = generate_masks(Fake(), image, **options)
    assert 0 < len(records) < len(whole)
    same_prefix = [record["predicted_iou"] for record in whole[: len(records)]]
    assert [record["predicted_iou"] for record in records] == same_prefix  # The most certain ones are looked at.


def test_it_is_public_and_takes_what_predictors_take():
    assert dataseg_jax.generate_masks is generate_masks
    gray = scene((50, 50))[..., 0]
    assert len(generate_masks(Fake(), gray, points_per_side=4)) > 0


@pytest.mark.parametrize(
    "options, said",
    [
        ({"points_per_side": 0}, "points_per_side is 0; it must be a whole number of at least 1"),
        ({"points_per_batch": 0}, "points_per_batch is 0"),
        ({"crop_n_layers": -1}, "crop_n_layers is -1"),
        ({"pred_iou_thresh": 88}, "pred_iou_thresh is 88; it must be a number from 0 to 1"),
        ({"box_nms_thresh": float("nan")}, "box_nms_thresh is nan"),
        ({"max_area_share": "all"}, "max_area_share is 'all'"),
        ({"use_m2m": 1}, "use_m2m is 1; it must be True or False"),
        ({"output_mode": "png"}, "output_mode is 'png'; it must be one of binary_mask, uncompressed_rle, coco_rle"),
        ({"points_per_side": None}, "either points_per_side or point_grids must be given"),
        ({"point_grids": [np.zeros((1, 2))]}, "either points_per_side or point_grids must be given"),
        ({"points_per_side": None, "point_grids": []}, "point_grids has 0 grids; it must have 1"),
        ({"points_per_side": None, "point_grids": [np.full((1, 2), 7)]}, "within 0 .. 1"),
        (
            {"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2},
            "leaves no point in layer 3; it must be at least 8",
        ),
        ({"min_area": 3}, "generate_masks has no option 'min_area'"),
    ],
)
def test_options_that_cannot_be_used(options, said):
    one_line(lambda: generate_masks(Fake(), scene((20, 20)), **options), said)


def test_images_that_cannot_be_used():
    one_line(lambda: generate_masks(Fake(), np.zeros((4, 4, 3))), "the image is float64[4, 4, 3]")
    one_line(lambda: generate_masks(Fake(), np.zeros((0, 4, 3), np.uint8)), "the image is uint8[0, 4, 3]")
