"""Evaluation: a perfect answer scores 1, files score what the run scored, and the ceiling lies between."""

import numpy as np
import pytest
from pycocotools import mask as rle

from configs import quickstart
from data.shapes import Counts, write_world
from dataseg_jax.masks import Masks
from dataseg_jax.segmentation import Segment, Segmentation
from experiments import build, evaluation, settings
from experiments.evaluate import score_ap, score_miou_labels, score_pq


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings of the smoke run with few pictures and thresholds that let an untrained model answer."""
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=4, semantic=4, boxes=4, val=5))
    config = quickstart.get_config("smoke")
    config.world.root = str(root)
    config.model.backbone.width = 8
    config.eval.update(score_threshold=0.0, overlap_threshold=0.0, write_predictions=True, pictures=1, batch_size=2)
    return settings.from_config(config, "unused")


@pytest.fixture(scope="module")
def validation(run):
    return [build.open_dataset(d, run) for d in run.validation]


class Shifted:
    """Answers with the ground truth moved by three pixels: wrong enough to score between 0 and 1."""

    def __init__(self, datasets, truth):
        self._known = [(d.source[i], d, truth) for d in datasets for i in range(len(d.source))]

    def predict(self, images, vocabulary, task, batch_size, dataset):
        return [self._answer(image, task) for image in images]

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
    evaluator = evaluation.Evaluator(run, tmp_path, training, validation)
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


@pytest.mark.parametrize("kind", ["panoptic", "semantic"])
def test_the_truth_scores_one_and_the_ceiling_less(run, validation, kind):
    dataset = next(d for d in validation if d.name == kind)
    scorer = evaluation.SCORERS[kind](dataset)
    for i in range(len(dataset.source)):
        example = dataset.source[i]
        segments = tuple(Segment(k + 1, int(label), "", True, 1.0, 1) for k, label in enumerate(example.labels))
        ids = np.maximum(example.segments + 1, 0)
        scorer.add(example, Segmentation(example.image, kind, ids, segments, dataset.vocabulary))
    assert scorer.compute()[evaluation.HEADLINE[kind]] == 1.0
    assert 0.8 < evaluation.ceiling(dataset, run) < 1.0
