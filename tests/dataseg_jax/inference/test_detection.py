"""Boxes in answers: of the detection task, beside the masks of instances, in exported programs and in COCO's form."""

import dataclasses

import jax
import numpy as np
import pytest

from dataseg_jax.inference.export import export
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.metrics import InstanceAP
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from tests.messages import one_line

WORDS, SIDE, N = "cat, dog, sky:stuff", 32, 7
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(
        queries=3, conditional=4, boxes=True, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=384
    ),
    classifier=dict(loss="focal"),
)


def predictor_of(spec):
    arguments = np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.zeros((1, 64), bool)
    params = jax.jit(models.build(spec).init)(jax.random.key(1), *arguments)["params"]
    params["classifier"]["bias"] = np.float32(0)  # Else all is background.
    return Predictor(Checkpoint(0, spec, params, SIDE, "all-MiniLM-L6-v2", {}, {}, Thresholds(0.0, 0.0)))


@pytest.fixture(scope="module")
def predictor():
    return predictor_of(SPEC)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)


def boxes_by_hand(predictor, image):
    """Corners of every query's last box in pixels of the image, which fills 20 of the square's 32 rows."""
    square, fitted = fit(image, SIDE, (0, 0, 0))
    assert fitted == (20, 32)
    row = predictor.row(predictor.vocabulary(WORDS), "instance")
    arguments = square[None], row["classifiers"][None], row["category_valid"][None]
    out = jax.jit(models.build(SPEC).apply)({"params": predictor.params}, *arguments)
    x, y, w, h = np.asarray(out.boxes[0, -1]).T * 64  # A pixel of the square is 2 x 2 of the image's.
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    return np.clip(corners, 0, [64, 40, 64, 40])


def test_boxes_are_in_pixels_of_the_image(predictor, image):
    by_hand = boxes_by_hand(predictor, image)
    detected, instances = (predictor(image, WORDS, task=task) for task in ("detection", "instance"))
    assert {s.name for s in detected.segments} == {"cat", "dog"} and len(detected.segments) == N
    assert [s.score for s in detected.segments] == sorted((s.score for s in detected.segments), reverse=True)
    for segment in (*detected.segments, *instances.segments):
        assert np.abs(by_hand - segment.box).max(-1).min() < 1e-3
    assert not detected.ids.any() and detected.masks is None
    few = predictor(image, WORDS, task="detection", score_threshold=detected.segments[2].score)
    assert [s.box for s in few.segments] == [s.box for s in detected.segments[:2]]
    assert few.proposal_counts.below_score == N - 2
    features = predictor.encode(image)
    np.testing.assert_allclose(predictor(features, WORDS, task="detection").segments[0].box, detected.segments[0].box)


def test_coco_results_are_scored_by_pycocotools_s_rules(predictor, image):
    result = predictor(image, WORDS, task="detection")
    records = result.to_coco(image_id=7)
    assert records[0].keys() == {"image_id", "category_id", "score", "bbox"}
    x, y, w, h = records[0]["bbox"]
    np.testing.assert_allclose((x, y, x + w, y + h), result.segments[0].box, atol=1e-4)
    ap = InstanceAP(["cat", "dog", "sky"])
    best = result.segments[0]
    truth = [{"category": best.category, "bbox": records[0]["bbox"]}]
    ap.update(7, image.shape[:2], truth, [{"category": best.category, "score": 1.0, "bbox": records[0]["bbox"]}])
    assert ap.compute()["box_ap"] == pytest.approx(1)


def test_the_overlay_has_the_boxes_alone(predictor, image):
    result = predictor(image, WORDS, task="detection")
    drawn = result.overlay(min_score=0.0)
    nothing = result.overlay(min_score=1.1)
    assert drawn.dtype == np.uint8 and (drawn != nothing).any()


def test_an_exported_program_answers_the_same(predictor, image):
    square, fitted = fit(image, SIDE, (0, 0, 0))
    artifact = export(predictor, WORDS, "detection", batch_size=1, platforms=("cpu",))
    program = jax.export.deserialize(bytearray(artifact.program))
    answer = program.call(artifact.arrays, square[None], np.array([fitted], np.int32))
    result = predictor(image, WORDS, task="detection")
    np.testing.assert_allclose(
        answer["scores"][0][: len(result.segments)], [s.score for s in result.segments], rtol=1e-4
    )
    best = np.clip(np.asarray(answer["boxes"])[0, 0] * 2, 0, [64, 40, 64, 40])
    np.testing.assert_allclose(best, result.segments[0].box, atol=1e-2)


def test_a_model_without_boxes_says_so(image):
    fields = {**SPEC.mask_decoder, "boxes": False, "conditional": 0}
    predictor = predictor_of(dataclasses.replace(SPEC, mask_decoder=fields))
    one_line(lambda: predictor(image, WORDS, task="detection"), "task 'detection'", "this model has no boxes")
    assert predictor(image, WORDS, task="instance").segments[0].box is None
