"""Scores a model on validation datasets, each by the metric of its task, at the pictures' own size."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.example import Example
from data.targets import to_wire
from data.transforms import augment, evaluation_fit
from dataseg_jax.answers import answers
from dataseg_jax.errors import InputError
from dataseg_jax.metrics import InstanceAP, PanopticQuality, SemanticIoU
from dataseg_jax.metrics.federated import MOST_PREDICTIONS, federated
from dataseg_jax.postprocess import Thresholds
from dataseg_jax.predictor import Checkpoint, Predictor, module_row
from dataseg_jax.segmentation import Segmentation
from experiments import reporting
from experiments.baselines import semantic_baselines
from experiments.build import Dataset
from experiments.instance_truth import InstanceTruth
from experiments.settings import Settings

TASK_OF = {"panoptic": "panoptic", "semantic": "semantic", "instance": "instance", "boxes": "instance"}
HEADLINE = {"panoptic": "pq", "semantic": "miou", "instance": "mask_ap"}
CERTAIN = 20.0  # Logit of a perfect class prediction, for the ceiling.


class Evaluator:
    """Scores parameters on the validation datasets of a run, and keeps what does not depend on the parameters."""

    def __init__(self, settings: Settings, workdir: str, training: list[Dataset], validation: list[Dataset]):
        """Opens nothing more than the `truth` of box-only datasets.

        Raises:
          InputError: a dataset to be scored by masks has none and no `truth`; or the model's dataset-specific modules
            serve no validation dataset of that name or vocabulary.
        """
        self._settings, self._workdir = settings, Path(workdir)
        self._training, self._validation = training, validation
        self._truth = {d.name: _instance_truth(d) for d in validation if TASK_OF[d.task.kind] == "instance"}
        self._predictor = None
        for dataset in validation:
            module_row(self._predictor_of(None).checkpoint, dataset.vocabulary, self._modules_of(dataset))

    def run(self, params, step: int, telemetry=None, last: bool = False) -> dict[str, dict[str, float]]:
        """Dataset -> scores as fractions. Pictures and scores go to TensorBoard; the last run writes the report."""
        predictor = self._predictor_of(params)
        scores, sheets = {}, {}
        for dataset in self._validation:
            writer = (
                reporting.PredictionWriter(self._workdir, dataset)
                if last and self._settings.eval.write_predictions
                else None
            )
            scores[dataset.name], sheets[dataset.name] = self._score(dataset, predictor, writer, last)
        if telemetry:
            telemetry.scores(step, {name: _plain(values) for name, values in scores.items()})
            for name, sheet in sheets.items():
                if sheet is not None:
                    telemetry.pictures(step, f"eval/{name}", sheet)
        if last:
            reporting.write_report(self._workdir, step, scores, sheets, self._settings, self._validation)
        return scores

    def _predictor_of(self, params) -> Predictor:
        if self._predictor is None:
            s = self._settings
            thresholds = Thresholds(s.eval.score_threshold, s.eval.overlap_threshold)
            vocabularies = {d.name: d.vocabulary for d in self._training}
            classifiers = {d.name: d.task.embeddings for d in self._training}
            checkpoint = Checkpoint(
                0, s.model, params, s.image_size, s.text_space, vocabularies, classifiers, thresholds
            )
            self._predictor = Predictor(checkpoint, s.text_encoder or None)
        self._predictor.params = params
        return self._predictor

    def _modules_of(self, dataset: Dataset) -> str | None:
        """The training dataset of the same name, whose modules then serve; else the vocabulary tells."""
        return dataset.name if dataset.name in self._settings.model.dataset_specific else None

    def _score(self, dataset: Dataset, predictor: Predictor, writer, last: bool):
        task = TASK_OF[dataset.task.kind]
        scorer = SCORERS[task](dataset, self._truth.get(dataset.name), self._settings.eval.ignore_skipped)
        rows = []
        for examples in _batches(dataset.source, self._settings.eval.batch_size):
            results = predictor.predict(
                [example.image for example in examples],
                dataset.vocabulary,
                task,
                batch_size=self._settings.eval.batch_size,
                dataset=self._modules_of(dataset),
            )
            for example, result in zip(examples, results, strict=True):
                scorer.add(example, result)
                if writer:
                    writer.add(example, result)
                if len(rows) < self._settings.eval.pictures:
                    rows.append(reporting.sheet_row(example, result, scorer.truth(example)))
        if writer:
            writer.close()
        scores = scorer.compute()
        if last:
            scores |= self._beside(dataset, task)
        sheet = reporting.sheet(rows) if rows else None
        return scores, sheet

    def _beside(self, dataset: Dataset, task: str) -> dict[str, float]:
        """What is printed beside the score: what colour alone reaches, and what a perfect model could."""
        out = {}
        trained = [d for d in self._training if d.name == dataset.name]
        if self._settings.eval.baselines and task == "semantic" and trained:
            pairs = (_labelled(source) for source in (trained[0].source, dataset.source))
            baselines = semantic_baselines(*pairs, len(dataset.vocabulary))
            out |= {"colour_classifier_miou": baselines["colour"], "majority_class_miou": baselines["majority"]}
        if self._settings.eval.ceiling and task != "instance":
            out[f"ceiling_{HEADLINE[task]}"] = ceiling(dataset, self._settings)
        return out


def ceiling(dataset: Dataset, settings: Settings) -> float:
    """The score of the ground truth itself, sent through the input size and the stride-4 masks and back."""
    task = TASK_OF[dataset.task.kind]
    scorer = SCORERS[task](dataset, None)
    side = settings.image_size
    fitting = evaluation_fit((side, side))
    k = len(dataset.vocabulary)
    for i in range(len(dataset.source)):
        example = dataset.source[i]
        fitted, size = augment(example, fitting, np.random.default_rng(0))
        # Targets stay as many as they are, so that slots do not limit the ceiling.
        slots = max(len(example.labels), 1)
        wire = to_wire(fitted, size, slots=slots, mergeable=dataset.task.mergeable, task=0, form="coverage")
        share = np.clip(wire["masks"] / 255.0, 1e-3, 1 - 1e-3)
        class_logits = np.where(
            np.arange(k + 1) == np.where(wire["valid"], wire["labels"], k)[:, None], CERTAIN, -CERTAIN
        )
        result = answers(
            [example.image],
            class_logits[None].astype(np.float32), np.log(share / (1 - share))[None].astype(np.float32),
            [size], dataset.task.mergeable, dataset.vocabulary, task,
            Thresholds(settings.eval.score_threshold, settings.eval.overlap_threshold),
        )[0]  # fmt: skip
        scorer.add(example, result)
    return scorer.compute()[HEADLINE[task]]


@dataclasses.dataclass
class _PanopticScorer:
    """Collects pictures and scores them; what follows `dataset` is for the instance task."""

    dataset: Dataset
    records: InstanceTruth | None = None
    ignore_skipped: bool = False

    def __post_init__(self):
        v = self.dataset.vocabulary
        self.state = PanopticQuality(len(v), v.is_thing, v.names)

    def add(self, example: Example, result: Segmentation):
        truth = [{"id": i + 1, "category": int(k), "iscrowd": 0} for i, k in enumerate(example.labels)]
        guesses = [{"id": s.id, "category": s.category} for s in result.segments]
        self.state.update(np.maximum(example.segments + 1, 0), truth, result.ids, guesses)

    def truth(self, example: Example):
        return {"segments": np.maximum(example.segments + 1, 0), "labels": example.labels}

    def compute(self):
        return self.state.compute()


class _SemanticScorer(_PanopticScorer):
    def __post_init__(self):
        v = self.dataset.vocabulary
        self.state = SemanticIoU(len(v), v.names)

    def add(self, example: Example, result: Segmentation):
        self.state.update(example.categories, result.categories)


class _InstanceScorer(_PanopticScorer):
    """By the objects of `records`; `ignore_skipped` says what becomes of those without a mask, see `InstanceAP`."""

    def __post_init__(self):
        most = MOST_PREDICTIONS if self.records.federated else 100
        self.state = InstanceAP(self.dataset.vocabulary.names, self.ignore_skipped, most)

    def add(self, example: Example, result: Segmentation):
        image_id, size = example.image_id, example.image.shape[:2]
        guesses = [
            {"category": s.category, "score": s.score, "mask": mask}
            for s, mask in zip(result.segments, result.masks.rle, strict=True)
        ]
        truth = self.records.get(image_id, [])
        if image_id in self.records.federated:
            truth, guesses = federated(size, truth, guesses, *self.records.federated[image_id])
        self.state.update(image_id, size, truth, guesses)

    def truth(self, example: Example):
        records = [r for r in self.records.get(example.image_id, []) if "mask" in r and not r["iscrowd"]]
        return {"records": records, "labels": np.array([r["category"] for r in records], np.int64)}


SCORERS = {"panoptic": _PanopticScorer, "semantic": _SemanticScorer, "instance": _InstanceScorer}


def _plain(scores: dict) -> dict[str, float]:
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def _labelled(source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(len(source)):
        example = source[i]
        yield example.image, example.categories


def _batches(source, size: int) -> Iterator[list[Example]]:
    for first in range(0, len(source), size):
        yield [source[i] for i in range(first, min(first + size, len(source)))]


def _instance_truth(dataset: Dataset) -> InstanceTruth:
    file = dataset.settings.truth
    try:
        return InstanceTruth(dataset.source, os.path.join(dataset.settings.root, file) if file else "")
    except InputError as error:
        how = "" if file else f"; config.validation.{dataset.name}.truth can name a COCO instances JSON that has some"
        raise InputError(f"{error}{how}") from None
