"""A text encoder that is trained, in the real program: from a file of CLIP's, through steps, into predictions."""

import csv
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from data.pipeline.words import PhraseBook
from dataseg_jax import Predictor
from dataseg_jax.inference.export import export
from dataseg_jax.inference.vocabularies import Vocabularies
from dataseg_jax.io.checkpoint import load_checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.text import embed, in_span
from dataseg_jax.text.clip import embeddings
from dataseg_jax.text.clip.spaces import CLIP_SPACES
from dataseg_jax.text.clip.tower import TextTower, encode
from dataseg_jax.text.clip.trained import TEMPLATE, text_tokens, trimmed
from dataseg_jax.text.clip.weights import load_params
from experiments import build
from experiments.runtime import settings
from experiments.runtime.start import pretrained
from tests.dataseg_jax.text.clip.test_clip import random_hugging_face
from tests.experiments.pretrained import text_run
from tests.messages import one_line

SPACE = text_run.SPACE
TOWER = TextTower(SPACE.width, SPACE.layers, SPACE.heads, SPACE.projection)
WORDS = ("disc", "an unheard-of thing", "the left star")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The file of a random tiny tower."""
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file(random_hugging_face(SPACE), path)
    return path


@pytest.fixture
def config(monkeypatch, weights):
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", SPACE)
    c = text_run.get_config()
    c.pretrained.text = str(weights)
    return c


def program(workdir, weights, *flags):
    command = [sys.executable, "-m", "experiments.main", "--config=tests/experiments/pretrained/text_run.py"]
    command += [f"--workdir={workdir}", f"--config.pretrained.text={weights}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(weights, tmp_path_factory):
    """(workdir, what the program printed), after training and evaluation."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, program(workdir, weights)


def vectors_of(params, words):
    return encode(TOWER, params, [TEMPLATE.replace("{}", word) for word in words])


def test_the_tower_of_a_model_embeds_as_the_frozen_one(config, weights, tmp_path, monkeypatch):
    """`text.embed` with the one prompt, from the same file."""
    monkeypatch.setattr(embeddings, "TEMPLATES", (TEMPLATE,))
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path / "cache"))
    run = settings.from_config(config, str(tmp_path))
    shapes = jax.eval_shape(build.build_model(config).init, jax.random.key(0), *build.dummy_batch(config))["params"]
    params = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype)), shapes)
    found = pretrained.read_for_a_fresh_start(run, str(tmp_path))
    placed = pretrained.place(found, params, str(tmp_path))
    assert not jax.tree.reduce(lambda total, leaf: total + np.abs(leaf).sum(), placed["mask_decoder"], 0.0)
    predictor = Predictor.from_params(placed, run.model, run.image_size, "clip-tiny")
    expected = embed(WORDS, "clip-tiny", str(weights))
    np.testing.assert_allclose(predictor.vocabularies.embed(WORDS), expected, atol=1e-5)


def test_when_the_weights_are_read(config, tmp_path, capsys):
    config.pretrained.text = "random"
    assert pretrained.read_for_a_fresh_start(settings.from_config(config, str(tmp_path)), str(tmp_path)) is None
    config.pretrained.text = str(tmp_path / "none.npz")
    run = settings.from_config(config, str(tmp_path))
    one_line(lambda: pretrained.read_for_a_fresh_start(run, str(tmp_path)), "none.npz: no such weight file")
    config.init_from = "elsewhere"
    run = settings.from_config(config, str(tmp_path))
    assert pretrained.read_for_a_fresh_start(run, str(tmp_path)) is None
    assert "pretrained.text" in capsys.readouterr().out


def test_settings_that_contradict_each_other_are_refused(config):
    def refused(*parts, **fields):
        with config.unlocked():
            changed = config.copy_and_resolve_references()
            changed.update_from_flattened_dict(fields)
        one_line(lambda: settings.from_config(changed, "run"), *parts)

    refused("model.text.name='clip'", "text_space", "clip-vit-base-patch16", **{"text_space": "all-MiniLM-L6-v2"})
    refused("config.model.text.name='bert'", "frozen, clip", **{"model.text.name": "bert"})
    refused("config.text_encoder='a'", "config.pretrained.text", **{"text_encoder": "a"})
    refused("config.pretrained.text", "model.text.name='clip'", **{"model.text.name": "frozen"})
    refused("config.optim.text_multiplier=-1.0", **{"optim.text_multiplier": -1.0})
    refused("model.text: unknown field wdth", **{"model.text": {"name": "clip", "wdth": 3}})


def test_phrases_of_all_datasets_have_as_many_tokens():
    """Batches of every dataset take one program."""
    tokens = {"a": trimmed(text_tokens(["short"])), "b": trimmed(text_tokens(["a phrase of many words " * 3]))}
    books = {name: PhraseBook(("x",), None, 2, 0, of_name) for name, of_name in tokens.items()}
    opened = [build.Dataset(SimpleNamespace(name=name), None, None, None, book) for name, book in books.items()]
    found = build._books([*opened, build.Dataset(SimpleNamespace(name="c"), None, None, None)])
    assert {name: book.tokens.shape for name, book in found.items()} == {"a": (1, 24), "b": (1, 24)}
    np.testing.assert_array_equal(found["a"].tokens, np.pad(tokens["a"], ((0, 0), (0, 16))))


def test_the_run_trains_the_tower_and_evaluates(trained, weights):
    workdir, printed = trained
    assert f"all parameters of the text encoder from {weights}" in printed
    with (workdir / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, text_run.STEPS + 1))
    assert all(np.isfinite(float(row["loss"])) for row in rows) and "referring" in {row["dataset"] for row in rows}
    start, end = load_params(weights, SPACE), load_checkpoint(workdir).params["text"]
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start, end)
    # Adam's updates are at most about the learning rate, 1e-3, times a tenth.
    assert all(1e-6 < change < text_run.STEPS * 3e-4 for change in jax.tree.leaves(moved)), moved
    scores = json.loads((workdir / "results.json").read_text())["scores"]
    assert set(scores) == {"panoptic", "referring", "foreground", "trained_words", "synonyms"}
    assert 0 <= scores["referring"]["miou"] <= 1 and 0 <= scores["synonyms"]["nearest_name_accuracy"] <= 1


def test_a_run_continues_with_its_tower(trained, weights, tmp_path):
    """From the last step, after which there is only the evaluation: its scores are those of before."""
    workdir, _ = trained
    before = load_checkpoint(workdir).params["text"]
    shutil.copytree(workdir / "checkpoints", tmp_path / "checkpoints")
    printed = program(tmp_path, weights, f"--config.world.root={workdir / 'world'}")
    assert f"continuing from step {text_run.STEPS}" in printed and "text encoder" not in printed
    again = json.loads((tmp_path / "results.json").read_text())["scores"]
    first = json.loads((workdir / "results.json").read_text())["scores"]
    for name, metric in (("panoptic", "pq"), ("referring", "miou"), ("synonyms", "pq")):
        assert again[name][metric] == pytest.approx(first[name][metric], abs=1e-6)
    jax.tree.map(np.testing.assert_array_equal, load_checkpoint(tmp_path).params["text"], before)


def test_a_predictor_answers_with_the_trained_tower(trained, weights, monkeypatch):
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", SPACE)
    checkpoint = load_checkpoint(trained[0])
    assert checkpoint.classifiers == {}
    predictor = Predictor(checkpoint, text_encoder="no such file")
    start = load_params(weights, SPACE)
    expected, frozen = (vectors_of(params, WORDS) for params in (checkpoint.params["text"], start))
    assert np.abs(expected - frozen).max() > 1e-4
    for words in (WORDS, predictor.vocabulary("panoptic").spoken):
        row = predictor.row(predictor.vocabulary(list(words)), "panoptic")
        vectors = vectors_of(checkpoint.params["text"], words)
        np.testing.assert_allclose(row["classifiers"][: len(words)], vectors, atol=1e-5)
    row = predictor.row(predictor.vocabulary("panoptic"), "panoptic")
    vectors = vectors_of(checkpoint.params["text"], checkpoint.vocabularies["panoptic"].spoken)
    np.testing.assert_allclose(row["classifiers"][: len(vectors)], vectors, atol=1e-5)
    # Embeddings from elsewhere have no say, and other parameters make other vectors.
    predictor.know(WORDS, np.ones((3, SPACE.projection), np.float32))
    predictor.use({**checkpoint.params, "text": start})
    row = predictor.row(predictor.vocabulary(list(WORDS)), "panoptic")
    np.testing.assert_allclose(row["classifiers"][:3], frozen, atol=1e-5)


def test_a_predictor_finds_phrases_and_exports(trained, monkeypatch):
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", SPACE)
    predictor = Predictor.from_checkpoint(trained[0])
    image = np.random.default_rng(0).integers(0, 255, (50, 64, 3), np.uint8)
    asked = predictor(image, task="referring", phrases=list(WORDS), score_threshold=0.0)
    assert {s.name for s in asked.segments} <= set(WORDS)
    assert predictor(image, "panoptic", task="semantic").categories.shape == (50, 64)
    assert predictor(image, task="foreground").foreground.shape == (50, 64)
    artifact = export(predictor, "panoptic", "semantic", platforms=("cpu",))
    assert not any(array.shape[0] == 49408 for array in artifact.arrays if array.ndim)


def test_new_words_lie_in_the_span_of_the_trained_vectors(trained, monkeypatch):
    monkeypatch.setitem(CLIP_SPACES, "clip-tiny", SPACE)
    checkpoint = load_checkpoint(trained[0])
    found = Vocabularies(checkpoint, None, True, models.build(checkpoint.spec))
    found.use(checkpoint.params)
    row = found.row(found.find(list(WORDS)), "panoptic")
    words = [word for vocabulary in checkpoint.vocabularies.values() for word in vocabulary.spoken]
    params = checkpoint.params["text"]
    expected = in_span(vectors_of(params, WORDS), vectors_of(params, words), WORDS)
    np.testing.assert_allclose(row["classifiers"][:3], expected, atol=1e-5)
