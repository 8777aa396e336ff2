"""The referring task: the mask of the best query for each phrase, or none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.inference.assemble import assemble
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import phrase_vocabulary
from tests.messages import one_line

SIDE, N = 32, 5
PHRASES = ["the left red disc", "a star", "the star", "the blue cross"]
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=N, width=16, layers=1, heads=2, ffn=16, memory_levels=1, text_width=384),
)


@pytest.fixture(scope="module")
def predictor():
    arguments = np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.zeros((1, 64), bool)
    params = jax.jit(models.build(SPEC).init)(jax.random.key(1), *arguments)["params"]
    made = Predictor(Checkpoint(0, SPEC, params, SIDE, "all-MiniLM-L6-v2", {}, {}, Thresholds(0.0, 0.0)))
    made.know([p.lower() for p in PHRASES], np.random.default_rng(2).normal(size=(4, 384)))
    return made


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 64, 3), np.uint8), rng.integers(0, 256, (30, 30, 3), np.uint8)]


def by_hand(logits, masks, k):
    """Of each of k phrases the query that is best against the background, its probability and its mask."""
    p = 1 / (1 + np.exp(logits[:, -1:] - logits[:, :k]))
    best = p.argmax(0)
    return best, p.max(0), masks[best] >= 0


def test_the_best_query_of_each_phrase_answers():
    rng = np.random.default_rng(1)
    logits = np.full((1, N, 65), -1e9, np.float32)
    logits[..., :4], logits[..., -1] = rng.normal(size=(1, N, 4)) * 3, 0
    masks = rng.normal(size=(1, N, 8, 8)).astype(np.float32)
    image = np.zeros((8, 8, 3), np.uint8)
    vocabulary = phrase_vocabulary(PHRASES)
    best, p, expected = by_hand(logits[0], masks[0], 4)
    threshold = float(np.sort(p)[1])
    (answer,) = assemble(
        [image], logits, np.repeat(np.repeat(masks, 1, 2), 1, 3), [(32, 32)], np.zeros(64, bool), vocabulary,
        "referring", Thresholds(threshold, 0.0),
    )  # fmt: skip
    answered = np.flatnonzero(p > threshold)
    assert [s.category for s in answer.segments] == answered.tolist() and len(answered) == 2
    for segment, mask in zip(answer.segments, answer.masks, strict=True):
        assert segment.score == pytest.approx(p[segment.category]) and segment.name == PHRASES[segment.category]
        np.testing.assert_array_equal(mask, expected[segment.category])
    assert answer.proposal_counts.below_score == 2


def test_phrases_do_not_compete(predictor, images):
    """The answer to a phrase is the same whatever else is asked, in whatever order."""
    alone = {p: predictor(images[0], task="referring", phrases=[p], score_threshold=0.0) for p in PHRASES}
    together = predictor(images[0], task="referring", phrases=PHRASES[::-1], score_threshold=0.0)
    assert [s.name for s in together.segments] == [p for p in PHRASES[::-1] if alone[p].segments]
    for segment, mask in zip(together.segments, together.masks, strict=True):
        one = alone[segment.name]
        assert segment.score == pytest.approx(one.segments[0].score, abs=1e-6)
        np.testing.assert_array_equal(mask, one.masks[0])


def test_each_image_may_have_phrases_of_its_own(predictor, images):
    asked = [phrase_vocabulary(PHRASES[:1]), phrase_vocabulary(PHRASES[1:])]
    fitted = [fit(image, SIDE, (0, 0, 0)) for image in images]
    answers = predictor.start(images, fitted, asked, "referring", Thresholds(0.0, 0.0), 3)()
    for image, words, answer in zip(images, asked, answers, strict=True):
        alone = predictor(image, task="referring", phrases=list(words.names), score_threshold=0.0)
        assert [s.name for s in answer.segments] == [s.name for s in alone.segments]
        np.testing.assert_array_equal(answer.ids, alone.ids)


def test_an_encoded_image_answers_the_same(predictor, images):
    encoded = predictor.encode(images[0])
    ask = dict(task="referring", phrases=PHRASES, score_threshold=0.0)
    one, other = predictor(images[0], **ask), predictor(encoded, **ask)
    np.testing.assert_array_equal(one.ids, other.ids)


def test_results_in_cocos_form_and_the_overlay(predictor, images):
    answer = predictor(images[0], task="referring", phrases=PHRASES, score_threshold=0.0)
    entries = answer.to_coco(7)
    assert [e["category_id"] for e in entries] == [s.category for s in answer.segments]
    assert answer.overlay(min_score=0.0).shape[1] >= 64


@pytest.mark.parametrize(("phrases", "message"), [
    ("the left dog", "is one text; give a list"), ([], "no category"), (["a", " a"], "'a'"), (["  "], "empty"),
])  # fmt: skip
def test_phrases_that_cannot_be_used(predictor, images, phrases, message):
    one_line(lambda: predictor(images[0], task="referring", phrases=phrases), message)


def test_gradient_free_merge_shapes_are_static():
    """65 phrases and more compile once for each multiple of 64, as vocabularies do."""
    from dataseg_jax.inference.tasks import TASKS

    out = TASKS["referring"].merge(jnp.zeros((2, N, 129)), jnp.zeros((2, N, 8, 8)), None, None, 0.5)
    assert out.slot.shape == (2, 128) and not out.chosen.any()
