"""The façade: images of any size, any vocabulary, clear refusals; and pasting against a plain bilinear loop."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.checkpoint import Checkpoint, load_checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import embed, in_span, load_vocabulary

SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=5, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=384),
)


@pytest.fixture(scope="module")
def predictor():
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.zeros((1, 64), bool)
    params = jax.jit(models.build(SPEC).init)(jax.random.key(1), *arguments)["params"]
    thresholds = Thresholds(0.0, 0.0)
    checkpoint = Checkpoint(0, SPEC, params, 32, "all-MiniLM-L6-v2", {}, {}, thresholds)
    return Predictor(checkpoint)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
@pytest.mark.parametrize("size", [(20, 90), (40, 32), (1, 1)])
def test_answers_have_the_images_own_size(predictor, task, size):
    result = predictor(noise(*size), "camvid", task)
    assert result.ids.shape == size
    assert {s.id for s in result.segments} >= set(np.unique(result.ids)) - {0}
    for segment in result.segments:
        assert segment.name == load_vocabulary("camvid").names[segment.category]
        if task != "instance":
            assert segment.area == (result.ids == segment.id).sum()
    if task == "semantic":
        assert (result.categories >= 0).all()
    assert result.overlay().dtype == np.uint8


def test_a_batch_equals_its_images_one_by_one(predictor):
    images = [noise(20, 30, 1), noise(30, 20, 2), noise(33, 33, 3)]
    together = predictor.predict(images, "camvid", "semantic", batch_size=2)  # The last batch is padded.
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(result.ids, predictor(image, "camvid", "semantic").ids)


def test_the_order_of_words_does_not_matter(predictor):
    image = noise(40, 40)
    one = predictor(image, "sky:stuff, car, tree:stuff", "semantic")
    other = predictor(image, ["tree:stuff", "sky:stuff", "car"], "semantic")
    names = [np.array(r.vocabulary.names)[r.categories] for r in (one, other)]
    np.testing.assert_array_equal(*names)


def test_thresholds_only_remove(predictor):
    image = noise(40, 40)
    loose = predictor(image, "camvid", "panoptic", score_threshold=0.0, overlap_threshold=0.0)
    strict = predictor(image, "camvid", "panoptic", score_threshold=0.999)
    assert len(strict.segments) < len(loose.segments)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((noise(4, 4), "camvid", "panoptik"), "unknown task 'panoptik'"),
        ((noise(4, 4)[..., :2], "camvid"), "image 0 is uint8[4, 4, 2]; it must be [H, W, 3] RGB"),
        ((noise(4, 4)[:0], "camvid"), "uint8[0, 4, 3]"),
        ((noise(4, 4).astype(np.float32), "camvid"), "float32[4, 4, 3]; it must be a Pillow image or a numpy array"),
        ((noise(4, 4).tolist(), "camvid"), "image 0 is list"),
        ((Image.fromarray(np.zeros((4, 4), np.uint16)), "camvid"), "mode I;16"),
        ((noise(4, 4), "camvit"), "no vocabulary 'camvit': did you mean 'camvid'?"),
        ((noise(4, 4), "my_words"), "no vocabulary 'my_words'"),
        ((noise(4, 4), "zzyzzx, car"), "zzyzzx"),
        ((noise(4, 4), "car, car"), "car"),
    ],
)
def test_bad_input_is_one_line(predictor, arguments, said):
    with pytest.raises(InputError) as error:
        predictor(*arguments)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_no_checkpoint_is_told(tmp_path):
    with pytest.raises(InputError, match="no checkpoint here"):
        load_checkpoint(tmp_path)


def test_mismatches_name_what_differs(predictor):
    params = predictor.checkpoint.params
    wider = dataclasses.replace(SPEC, mask_decoder={**SPEC.mask_decoder, "queries": 6, "layers": 2})
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.zeros((1, 64), bool)
    expected = jax.eval_shape(models.build(wider).init, jax.random.key(0), *arguments)["params"]
    told = models.mismatches(params, expected)
    assert "mask_decoder/query_features is (5, 16), not (6, 16)" in told
    assert any(line.startswith("mask_decoder/layer_1/") and line.endswith("is missing") for line in told)
    assert models.mismatches(params, params) == []


def test_fit_keeps_the_aspect_and_pads_below_and_right():
    square, size = fit(np.full((30, 60, 3), 200, np.uint8), 32, (9, 8, 7))
    assert (square[16:] == (9, 8, 7)).all()
    square, size = fit(np.full((30, 60, 3), 200, np.uint8), 32)
    assert size == (16, 32)
    assert (square[:16] == 200).all() and (square[16:] == 0).all()


def test_gray_alpha_and_pillow_images_are_taken(predictor):
    rgb = noise(30, 40)
    gray = np.repeat(rgb[..., :1], 3, -1)
    alpha = np.dstack([rgb, noise(30, 40, 1)[..., 0]])
    inputs = [gray, gray[..., 0], gray[..., :1], rgb, alpha, Image.fromarray(rgb)]
    ids = [result.ids for result in predictor.predict(inputs, "camvid", "semantic")]
    for i, j in ((0, 1), (0, 2), (3, 4), (3, 5)):
        np.testing.assert_array_equal(ids[i], ids[j])
    turned = Image.fromarray(rgb)
    turned.getexif()[274] = 6
    assert predictor(turned, "camvid", "semantic").ids.shape == (40, 30)


def test_sizes_and_words_compile_nothing(predictor):
    """One network a (batch, K bucket), one program after it a task besides, and two sizes of windows."""
    from dataseg_jax.inference import assemble

    sizes = [(20, 30), (33, 47), (64, 64), (65, 10), (100, 300), (257, 31), (3, 600)]
    words = ["camvid", "car, sky:stuff", "tree:stuff, person, road:stuff"]  # All below 64.
    counted = predictor._forward, assemble._merged, assemble.tile_of
    for function in counted:
        function.clear_cache()
    for i, size in enumerate(sizes):
        for vocabulary in words:
            for task in ("panoptic", "semantic", "instance"):
                predictor.predict([noise(*size, seed=i)], vocabulary, task, batch_size=2)
    assert [function._cache_size() for function in counted] == [1, 3, 6]
    predictor(noise(5, 5), "coco_panoptic")  # 133 categories.
    assert predictor._forward._cache_size() == 2


@pytest.mark.parametrize("task", ["panoptic", "semantic", "instance"])
def test_features_answer_as_the_image_does_and_run_no_backbone(predictor, task, monkeypatch):
    image, words = noise(30, 44), ["camvid", "car, sky:stuff"]
    expected = [predictor(image, w, task, score_threshold=0.0) for w in words]
    encoded = predictor.encode(image)
    for function in ("_forward", "_encode"):
        monkeypatch.setattr(predictor, function, lambda *_: pytest.fail("the backbone ran again"))
    for w, other in zip(words, expected, strict=True):
        one = predictor(encoded, w, task, score_threshold=0.0)
        np.testing.assert_array_equal(one.ids, other.ids)
        assert [(s.category, s.area) for s in one.segments] == [(s.category, s.area) for s in other.segments]
        np.testing.assert_array_equal(one.image, image)
    with pytest.raises(InputError, match="unknown task 'panoptik'"):
        predictor(encoded, "camvid", "panoptik")


def test_what_is_empty_says_why(predictor):
    result = predictor(noise(30, 30), "camvid", score_threshold=1.0)
    d = result.proposal_counts
    assert not result.segments and not result.ids.any() and d.kept == 0
    assert d.total == 5 == d.merged + d.background + d.below_score + d.no_pixel + d.covered
    assert "0 of 5 proposals kept" in str(d) and (d.below_score == 0 or "score threshold 1 (best" in str(d))
    loose = predictor(noise(30, 30), "camvid", score_threshold=0.0, overlap_threshold=0.0).proposal_counts
    assert loose.kept == loose.total - loose.merged - loose.background - loose.no_pixel - loose.covered


def test_an_instance_overlay_leaves_out_what_is_faint(predictor):
    result = predictor(noise(300, 260), "camvid", "instance")
    scores = [s.score for s in result.segments]
    assert all(s.is_thing for s in result.segments)
    assert min(scores) < 0.5 < max(scores) and scores == sorted(scores, reverse=True)
    assert result.overlay(legend=False).tolist() != result.overlay(legend=False, min_score=0.0).tolist()
    for segment, mask in zip(result.segments, result.masks, strict=True):
        assert segment.area == mask.sum()
        np.testing.assert_array_equal(result.mask(segment), mask)


def test_instances_are_of_things_unless_there_are_none(predictor):
    image = noise(40, 40)
    both = predictor(image, "sky:stuff, car, tree:stuff", "instance")
    assert both.segments and {s.name for s in both.segments} == {"car"}
    none = predictor(image, "sky:stuff, tree:stuff", "instance")
    assert {s.name for s in none.segments} <= {"sky", "tree"} and none.segments


def test_words_that_were_not_trained_on_in_the_span_of_those_that_were(predictor):
    vocabularies = {name: load_vocabulary(name) for name in ("shapes_panoptic", "shapes_boxes")}
    classifiers = {name: embed(vocabulary.spoken) for name, vocabulary in vocabularies.items()}
    checkpoint = dataclasses.replace(predictor.checkpoint, vocabularies=vocabularies, classifiers=classifiers)
    spanned = Predictor(checkpoint, in_span=True)

    def vectors(who, words):
        vocabulary = who.vocabulary(words)
        return np.asarray(who.row(vocabulary, "panoptic")["classifiers"])[: len(vocabulary)]

    words = "cross, three-sided shape, grass:stuff"
    texts = "cross", "three-sided shape", "grass"
    expected = in_span(embed(texts), np.concatenate(list(classifiers.values())), texts)
    np.testing.assert_allclose(vectors(spanned, words), expected, atol=1e-6)
    np.testing.assert_array_equal(vectors(spanned, "shapes_boxes"), vectors(Predictor(checkpoint), "shapes_boxes"))
    np.testing.assert_allclose(vectors(spanned, words)[[0, 2]], vectors(predictor, words)[[0, 2]], atol=1e-6)
    assert np.abs(vectors(spanned, words)[1] - vectors(predictor, words)[1]).max() > 0.02
    with pytest.raises(InputError, match="names no word that it was trained on"):
        Predictor(predictor.checkpoint, in_span=True)(noise(8, 8), words)
