"""Evaluation: a perfect answer scores 1, files and report hold the scores of the run, the upper bound lies between."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as rle

from configs import quickstart
from data.shapes import Counts, write_world
from dataseg_jax.errors import InputError
from dataseg_jax.metrics import PanopticQuality
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segment, Segmentation
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import embed, load_vocabulary
from experiments import build
from experiments.evaluate import score_ap, score_miou_labels, score_pq
from experiments.evaluation import reporting
from experiments.evaluation.comparisons.nearest_names import nearest_names
from experiments.evaluation.comparisons.upper_bound import upper_bound
from experiments.evaluation.dataset_result import DatasetResult, thresholds_of
from experiments.evaluation.evaluator import Evaluator
from experiments.evaluation.instance_quality import instance_quality
from experiments.evaluation.scorers import HEADLINE, SCORERS
from experiments.runtime import settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings of the smoke run with few images and thresholds that let an untrained model answer."""
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=4, semantic=4, boxes=4, val=5))
    config = quickstart.get_config("smoke")
    config.world.root = str(root)
    config.model.backbone.width = 8
    config.eval.update(score_threshold=0.0, overlap_threshold=0.0, write_predictions=True, images=1, batch_size=2)
    return settings.from_config(config, "unused")


@pytest.fixture(scope="module")
def validation(run):
    return [build.open_dataset(d, run) for d in run.validation]


class Shifted:
    """Answers with the ground truth moved by three pixels: wrong enough to score between 0 and 1."""

    def __init__(self, datasets, truth):
        self._known = [(d.source[i], d, truth) for d in datasets for i in range(len(d.source))]

    devices = 1

    def start(self, images, fitted, vocabulary, task, thresholds, batch_size, dataset):
        return lambda: [self._answer(image, task) for image in images]

    def _answer(self, image, task):
        example, dataset, truth = next(known for known in self._known if np.array_equal(known[0].image, image))
        if task == "instance":
            records = truth[dataset.name].get(example.image_id, [])
            masks = Masks.encode(np.roll(rle.decode(r["mask"]).astype(bool), 3, 1) for r in records)
            labels, ids = [r["category"] for r in records], np.zeros(image.shape[:2], np.int32)
        else:
            masks, labels, ids = None, example.labels, np.roll(np.maximum(example.segments + 1, 0), 3, 1)
        segments = tuple(Segment(k + 1, int(label), "", True, 0.9, 1) for k, label in enumerate(labels))
        return Segmentation(image, task, ids, segments, dataset.vocabulary, masks)


def test_files_score_what_the_run_scored(run, validation, tmp_path, monkeypatch):
    training = [build.open_dataset(d, run) for d in run.datasets]
    bounded = dataclasses.replace(run, eval=dataclasses.replace(run.eval, upper_bound=True))
    evaluator = Evaluator(bounded, tmp_path, training, validation)
    monkeypatch.setattr(evaluator, "_predictor_of", lambda params: Shifted(validation, evaluator._truth))
    scores = evaluator.run(None, 0, last=True)
    folder = tmp_path / "predictions"

    files = score_pq(folder / "panoptic" / "ground_truth.json", folder / "panoptic" / "predictions.json")
    assert files["pq"] == pytest.approx(scores["panoptic"]["pq"], abs=1e-12) and 0.1 < files["pq"] < 0.9
    files = score_ap(f"{validation[0].settings.root}/masks.json", folder / "boxes" / "predictions.json")
    assert files["mask_ap"] == pytest.approx(scores["boxes"]["mask_ap"], abs=1e-9) and 0.1 < files["mask_ap"] < 0.9
    labels = folder / "semantic"
    files = score_miou_labels(labels / "ground_truth", labels / "predictions", vocabulary="shapes_semantic")
    assert files["miou"] == pytest.approx(scores["semantic"]["miou"], abs=1e-12) and 0.1 < files["miou"] < 0.95
    table = (tmp_path / "results.md").read_text()
    assert f"{100 * scores['panoptic']['pq']:.1f}" in table and "score > 0.0" in table
    panoptic = next(d for d in validation if d.name == "panoptic")
    assert f"upper bound of PQ by stride-4 masks | {100 * upper_bound(panoptic, run):.1f} |" in table
    page = (tmp_path / "report.html").read_text()
    assert f"<b>{100 * scores['panoptic']['pq']:.1f}</b><span>PQ</span>" in page
    assert page.count("<article>") == len(validation) * 5  # All of five images are among the best or the worst four.
    assert scores["unrelated"]["nearest_name_accuracy"] < 0.5 < scores["synonyms"]["nearest_name_accuracy"] < 1


def test_a_dataset_can_have_thresholds_of_its_own(run, validation, tmp_path, monkeypatch):
    common = dataclasses.replace(run.eval, score_threshold=0.8, overlap_threshold=0.7)
    words = {d.name: d for d in validation}["synonyms"]
    own = dataclasses.replace(words, settings=dataclasses.replace(words.settings, overlap_threshold=0.25))
    assert [thresholds_of(d, common) for d in (own, words)] == [Thresholds(0.0, 0.25), Thresholds(0.0, 0.7)]
    assert thresholds_of({d.name: d for d in validation}["panoptic"], common) == Thresholds(0.8, 0.7)
    assert thresholds_of({d.name: d for d in validation}["boxes"], common) is None
    results = [DatasetResult(d, "masks", {"pq": 0.5}, thresholds_of(d, common)) for d in (own, words)]
    text = reporting.score_table(results, dataclasses.replace(run, eval=common))
    assert "PQ: score > 0.8, overlap >= 0.7; of synonyms: score > 0.0, overlap >= 0.25; of synonyms:" in text


def test_words_replace_names_and_keep_ids(run, validation):
    by_name = {d.name: d for d in validation}
    words, names = by_name["synonyms"].vocabulary, by_name["panoptic"].vocabulary
    assert words.ids == names.ids and words.is_thing == names.is_thing and set(words.names).isdisjoint(names.names)
    other = next(d for d in run.validation if d.name == "boxes")
    with pytest.raises(InputError, match="boxes: words soil, crop have no category of id 2; they need the ids of"):
        build.open_dataset(dataclasses.replace(other, words="soil, crop"), run)


def test_nearest_names_of_a_vocabulary_are_its_own():
    names = load_vocabulary("shapes_panoptic")
    assert all(right and name == word for name, word, right in nearest_names(names, names, embed))
    turned = dataclasses.replace(names, names=names.names[::-1])
    found = nearest_names(names, turned, embed)
    assert [name == word for name, word, _ in found] == [True] * 7 and sum(right for *_, right in found) == 1


def test_instance_quality_is_pq_where_masks_do_not_overlap():
    rng = np.random.default_rng(0)
    for _ in range(20):
        maps = [np.kron(rng.integers(0, 6, (4, 4)), np.ones((5, 5), int)) for _ in range(2)]
        maps[1] = np.where(rng.random(maps[0].shape) < 0.8, maps[0], maps[1])
        present = [np.unique(ids)[np.unique(ids) > 0] for ids in maps]
        records = [[{"id": int(i), "category": int(i) % 3} for i in some] for some in present]
        state = PanopticQuality(3, [True] * 3)
        state.update(maps[0] + 1, [r | {"id": r["id"] + 1} for r in records[0]] + [], maps[1], records[1])
        masks = [
            [{"category": r["category"], "mask": ids == r["id"], "score": 0.9} for r in some]
            for ids, some in zip(maps, records, strict=True)
        ]
        assert instance_quality(*masks, (20, 20)) == pytest.approx(state.compute()["pq"], abs=1e-9)


def test_instance_quality_leaves_out_crowds_and_the_uncertain():
    square, half = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    square[:4], half[:2] = True, True
    truth = [{"category": 0, "mask": square, "iscrowd": 1}, {"category": 1, "bbox": [0, 0, 2, 2]}]
    sure, unsure = ({"category": 0, "mask": half, "score": score} for score in (0.6, 0.4))
    assert instance_quality(truth, [sure, unsure], (8, 8)) is None  # It lies on the crowd.
    assert instance_quality([{"category": 0, "mask": square}], [unsure], (8, 8)) == 0.0
    both = [sure, sure | {"mask": square}]  # Both match by IoU alone; one object is found once.
    assert instance_quality([{"category": 0, "mask": square}], both, (8, 8)) == pytest.approx(1 / 1.5)


PROGRAM = Path(__file__).with_name("evaluation_program.py")


def scores_of(root, folder, devices, process=(0, 1, 0)):
    """Starts a process that scores a random model on so many devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "PJRT_NPROC": "64"}
    command = [sys.executable, str(PROGRAM), str(root), str(folder), *map(str, process)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def two_hosts(root, folder):
    """Two processes of two devices each, which find each other on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [scores_of(root, folder, 2, (number, 2, port)) for number in range(2)]


def result_of(process):
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def assert_equal(scores, others):
    assert scores.keys() == others.keys()
    for key, value in scores.items():
        if isinstance(value, dict):
            assert_equal(value, others[key])
        else:
            assert value == pytest.approx(others[key], abs=1e-9), key


def predictions_of(folder, dataset):
    return json.loads((folder / "predictions" / dataset / "predictions.json").read_text())


def assert_same_predictions(some, others):
    """Equal but for the scores' last digits: a device's share of a batch orders the sums of float32."""
    if isinstance(some, dict):
        assert some.keys() == others.keys()
        for key, value in some.items():
            assert_same_predictions(value, others[key])
    elif isinstance(some, list):
        assert len(some) == len(others)
        for pair in zip(some, others, strict=True):
            assert_same_predictions(*pair)
    else:
        assert some == (pytest.approx(others, rel=1e-5) if isinstance(others, float) else others)


@pytest.mark.slow
def test_devices_and_hosts_change_no_score(run, tmp_path):
    """Five images, two a batch: of eight devices most have nothing to do, of two hosts one has three images."""
    root = run.world["root"]
    single = result_of(scores_of(root, tmp_path / "1", 1))
    false = sum(scores["fp"] for scores in single["panoptic"]["per_class"].values())
    assert false > 5 and 0 < single["semantic"]["miou"] < 1  # There is something to differ.
    assert_equal(result_of(scores_of(root, tmp_path / "8", 8)), single)
    hosts = two_hosts(root, tmp_path / "hosts")
    for host in hosts:
        assert_equal(result_of(host), single)
    for name in ("panoptic", "boxes"):
        assert_same_predictions(*(predictions_of(tmp_path / folder, name) for folder in ("hosts", "1")))
    pages = [(tmp_path / folder / "report.html").read_text() for folder in ("1", "hosts")]
    assert pages[0].split("<main>")[1] == pages[1].split("<main>")[1]


@pytest.mark.slow
def test_an_image_that_one_host_cannot_read_ends_all(run, tmp_path):
    shutil.copytree(run.world["root"], tmp_path / "world")
    broken = sorted((tmp_path / "world" / "boxes" / "val" / "images").iterdir())[1]
    broken.write_bytes(b"this is no image")
    for host in two_hosts(tmp_path / "world", tmp_path / "run"):
        errors = host.communicate(timeout=400)[1]
        assert host.returncode and f"InputError: host 1: {broken}" in errors


@pytest.mark.parametrize("kind", ["panoptic", "semantic"])
def test_the_truth_scores_one_and_a_perfect_model_less(run, validation, kind):
    dataset = next(d for d in validation if d.name == kind)
    scorer = SCORERS[kind](dataset)
    for i in range(len(dataset.source)):
        example = dataset.source[i]
        segments = tuple(Segment(k + 1, int(label), "", True, 1.0, 1) for k, label in enumerate(example.labels))
        ids = np.maximum(example.segments + 1, 0)
        state, score = scorer.score(example, Segmentation(example.image, kind, ids, segments, dataset.vocabulary))
        assert score == 1.0
        scorer.add(state)
    assert scorer.compute()[HEADLINE[kind]] == 1.0
    assert 0.8 < upper_bound(dataset, run) < 1.0
