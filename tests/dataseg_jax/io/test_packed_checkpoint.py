"""Checkpoints in one file: they come back, damage is one line, and the one of the package answers."""

import json
import sys
import types
import zipfile

import numpy as np
import pytest

from data.formats import find_vocabulary, open_source
from data.shapes import Counts, write_world
from dataseg_jax import Predictor
from dataseg_jax.errors import InputError
from dataseg_jax.io import packed_checkpoint
from dataseg_jax.io.checkpoint import Checkpoint, record_of
from dataseg_jax.metrics import PanopticQuality
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import load_vocabulary
from tests.messages import one_line


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(0)
    params = {
        "backbone": {"stem": {"kernel": rng.normal(size=(3, 4)).astype(np.float32)}},
        "classifier": {"scale": np.float32(5)},
    }
    vocabularies = {"mine": load_vocabulary("camvid")}
    classifiers = {"mine": rng.normal(size=(11, 8)).astype(np.float32)}
    return Checkpoint(7, ModelSpec({}, {}, {}), params, 64, "words", vocabularies, classifiers, Thresholds(0.5, 0.25))


def test_what_is_packed_comes_back(checkpoint, tmp_path):
    packed_checkpoint.pack(checkpoint, tmp_path / "a.npz")
    loaded = packed_checkpoint.find(tmp_path / "a.npz")
    np.testing.assert_allclose(
        loaded.params["backbone"]["stem"]["kernel"], checkpoint.params["backbone"]["stem"]["kernel"], rtol=1e-3
    )
    assert loaded.params["classifier"]["scale"] == 5 and loaded.params["classifier"]["scale"].dtype == np.float32
    np.testing.assert_allclose(loaded.classifiers["mine"], checkpoint.classifiers["mine"], rtol=1e-3)
    assert json.dumps(record_of(loaded)) == json.dumps(record_of(checkpoint)) and loaded.step == checkpoint.step


def test_numbers_beyond_half_precision_are_refused(checkpoint, tmp_path):
    checkpoint.params["classifier"]["scale"] = np.float32(1e6)
    one_line(lambda: packed_checkpoint.pack(checkpoint, tmp_path / "a.npz"), "params/classifier/scale", "65504")
    assert not list(tmp_path.iterdir())


def test_damage_is_one_line(checkpoint, tmp_path):
    path = tmp_path / "a.npz"
    packed_checkpoint.pack(checkpoint, path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"no archive at all"):
        path.write_bytes(damaged)
        one_line(lambda: packed_checkpoint.unpack(path), f"{path}: the checkpoint cannot be read")
    np.savez(path, weights=np.ones(3))
    one_line(lambda: packed_checkpoint.unpack(path), "no record of a model")
    np.savez(path, record=np.frombuffer(b'{"model": {}, "step": 1e999}', np.uint8))
    one_line(lambda: packed_checkpoint.unpack(path), "the checkpoint cannot be read")
    np.savez(path, record=np.frombuffer(b"{}", np.uint8), a=np.array([np.nan], np.float16))
    one_line(lambda: packed_checkpoint.unpack(path), "not of finite numbers")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("record.npy", b"\x93NUMPY\x01\x00")
    one_line(lambda: packed_checkpoint.unpack(path), "the checkpoint cannot be read")


def test_names_that_are_nothing(tmp_path):
    one_line(lambda: packed_checkpoint.find("shape"), "shape: no such file or folder", "one of family, shapes")
    one_line(lambda: packed_checkpoint.find(tmp_path), "no checkpoint here")
    one_line(lambda: packed_checkpoint.find(tmp_path / "gone.npz"), "gone.npz")


def test_a_hub_name_is_downloaded(checkpoint, tmp_path, monkeypatch):
    packed_checkpoint.pack(checkpoint, tmp_path / packed_checkpoint.FILE)
    hub = types.ModuleType("huggingface_hub")
    hub.errors = types.ModuleType("huggingface_hub.errors")
    hub.errors.EntryNotFoundError = hub.errors.LocalEntryNotFoundError = FileNotFoundError
    hub.hf_hub_download = lambda name, file, local_files_only: str(tmp_path / file) if name == "me/mine" else None
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub.errors)
    assert packed_checkpoint.find("me/mine").step == 7


def test_the_model_of_the_package_sees_shapes(tmp_path):
    """Images of the embedded world that it was not trained on; all 200 of them gave PQ 72.4."""
    write_world(tmp_path / "world", counts=Counts(panoptic=1, semantic=1, boxes=1, val=12))
    root = str(tmp_path / "world/panoptic/val")
    vocabulary = find_vocabulary("shapes_panoptic", "coco_panoptic", root, name="val")
    source = open_source("coco_panoptic", root, vocabulary, name="val")
    predictor = Predictor.from_pretrained("shapes")
    state = PanopticQuality(len(vocabulary), vocabulary.is_thing, vocabulary.names)
    for example in source:
        result = predictor(example.image, "panoptic")
        truth = [{"id": i + 1, "category": int(k), "iscrowd": 0} for i, k in enumerate(example.labels)]
        guesses = [{"id": s.id, "category": s.category} for s in result.segments]
        state.update(np.maximum(example.segments + 1, 0), truth, result.ids, guesses)
    assert state.compute()["pq"] > 0.6
    assert packed_checkpoint.bundled() == ("family", "shapes", "tracker")


def test_a_model_without_words_says_so():
    with pytest.raises(InputError, match="answers no words; use PromptPredictor, or VideoPredictor"):
        Predictor.from_pretrained("tracker")
