"""`PromptPredictor.from_checkpoint` of checkpoints that the project's own writers make."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from dataseg_jax import ModelSpec, PromptPredictor, build
from dataseg_jax.errors import InputError
from dataseg_jax.io.checkpoint import load_checkpoint
from dataseg_jax.io.packed_checkpoint import pack
from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import load_vocabulary
from experiments.runtime.checkpoints.manager import Checkpoints, model_record
from tests.dataseg_jax.inference.promptable.test_prompt_predictor import BOXES, IMAGE, SIDE, SPEC
from tests.dataseg_jax.networks.promptable.test_head import PARTS, PROMPTS

WORDS = ModelSpec(**PARTS | dict(mask_decoder=PARTS["mask_decoder"] | dict(text_width=384)), **PROMPTS)


def save(workdir, params, spec, image_size, datasets=(), classifiers=None, average=None, step=7):
    """A checkpoint as a run writes it."""
    score = Thresholds()
    settings = types.SimpleNamespace(
        model=spec,
        scored_image_size=image_size,
        text_space="all-MiniLM-L6-v2",
        eval=types.SimpleNamespace(score_threshold=score.score, overlap_threshold=score.overlap),
    )
    state = {"step": np.int32(step), "params": params, "opt_state": ({"average": average} if average else {"mu": 1.0},)}
    checkpoints = Checkpoints(workdir)
    checkpoints.save(step, state, {}, model_record(settings, datasets), classifiers or {})
    checkpoints.close()
    return workdir


def random_params(spec, *arguments):
    """Without a compilation; `arguments` are those of the model."""
    shapes = jax.eval_shape(build(spec).init, jax.random.key(0), *arguments)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def params():
    return random_params(SPEC, np.zeros((1, SIDE, SIDE, 3), np.uint8), no_prompts(1))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, params):
    return save(tmp_path_factory.mktemp("run"), params, SPEC, SIDE)


def test_a_run_and_its_steps(workdir, params):
    for place in (workdir, workdir / "checkpoints", workdir / "checkpoints" / "7"):
        predictor = PromptPredictor.from_checkpoint(place)
        assert predictor.image_size == SIDE and predictor.vocabularies is None
        jax.tree.map(np.testing.assert_array_equal, predictor.params, params)
    predictor.set_image(IMAGE)
    assert predictor.predict(boxes=BOXES[:2]).masks.shape == (2, 3, *IMAGE.shape[:2])


def test_a_packed_file(workdir, tmp_path, params):
    pack(load_checkpoint(workdir), tmp_path / "mine.npz")
    predictor = PromptPredictor.from_checkpoint(tmp_path / "mine.npz")
    jax.tree.map(
        lambda ours, theirs: np.testing.assert_array_equal(ours, theirs.astype(np.float16)),
        predictor.params, params,
    )  # fmt: skip


def test_the_average_of_the_parameters_is_used(tmp_path, params):
    average = jax.tree.map(lambda x: x + np.float32(1), params)
    predictor = PromptPredictor.from_checkpoint(save(tmp_path, params, SPEC, SIDE, average=average))
    jax.tree.map(np.testing.assert_array_equal, predictor.params, average)


@pytest.fixture(scope="module")
def with_words(tmp_path_factory):
    vocabulary = load_vocabulary("shapes_parts")
    classifiers = np.random.default_rng(0).normal(size=(len(vocabulary.names), 384)).astype(np.float32)
    classifiers /= np.linalg.norm(classifiers, axis=1, keepdims=True)
    arguments = np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 64, 384), np.float32), np.ones((1, 64), bool)
    params = random_params(WORDS, *arguments)
    dataset = types.SimpleNamespace(
        name="parts", vocabulary=vocabulary, task=types.SimpleNamespace(kind="prompts"), book=None
    )
    workdir = tmp_path_factory.mktemp("words")
    return save(workdir, params, WORDS, 32, [dataset], {"parts": classifiers}), classifiers


def test_a_model_with_words_names_its_answers(with_words):
    workdir, classifiers = with_words
    predictor = PromptPredictor.from_checkpoint(workdir)
    row = predictor.vocabularies.row(predictor.vocabularies.find("parts"), "instance")
    np.testing.assert_allclose(np.asarray(row["classifiers"])[: len(classifiers)], classifiers, atol=1e-6)
    predictor.set_image(IMAGE)
    named = predictor.predict_named("parts", boxes=BOXES[:2])
    assert named.labels.shape == (2, 3) and (named.labels < len(classifiers)).all() and (named.scores > 0).all()


def test_a_model_without_prompts(tmp_path, workdir):
    spec = dataclasses.replace(WORDS, prompt_encoder={}, prompt_decoder={}, interaction={})
    with pytest.raises(InputError, match=r"plain: its model answers no prompts; use Predictor.from_checkpoint"):
        PromptPredictor.from_checkpoint(save(tmp_path / "plain", {"x": np.zeros(1)}, spec, 32))
    with pytest.raises(InputError, match="no checkpoint here"):
        PromptPredictor.from_checkpoint(tmp_path)
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="other.npz: the checkpoint cannot be read"):
        PromptPredictor.from_checkpoint(tmp_path / "other.npz")
