"""Scores a model on validation datasets, each by the metric of its task, at the images' own size.

Hosts share the images, and devices the batches of a host; neither changes a score. While the network computes a batch,
threads read the next one and paste, score and write the previous one.
"""

import collections
import dataclasses
import functools
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.example import Example
from dataseg_jax.errors import InputError
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.checkpoint import Checkpoint, module_row
from dataseg_jax.results.thresholds import Thresholds
from experiments.build import Dataset, trained_words
from experiments.evaluation.clicks import Clicker, objects_of
from experiments.evaluation.comparisons.baselines import semantic_baselines
from experiments.evaluation.comparisons.foreground_baselines import foreground_baselines
from experiments.evaluation.comparisons.nearest_names import nearest_names
from experiments.evaluation.comparisons.phrase_baselines import phrase_baselines
from experiments.evaluation.comparisons.prompt_baselines import prompt_baselines
from experiments.evaluation.comparisons.upper_bound import upper_bound
from experiments.evaluation.dataset_result import DatasetResult, supervision_of, thresholds_of
from experiments.evaluation.instance_truth import InstanceTruth
from experiments.evaluation.prediction_writer import PredictionWriter
from experiments.evaluation.report import CLASS_SCORES, BestAndWorst
from experiments.evaluation.report.overlays import overlay_row, sheet, shown_image
from experiments.evaluation.reporting import write_report
from experiments.evaluation.scorers import HEADLINE, SCORERS, TASK_OF, PanopticScorer, asked_of
from experiments.runtime.hosts import first
from experiments.runtime.hosts.gather import gather_from_hosts, images_of_this_host, on_this_host
from experiments.runtime.settings import Settings
from experiments.track.scoring import VideoScorer

IN_FLIGHT = 2  # Batches that are started and not yet scored.


@dataclasses.dataclass(frozen=True, eq=False)
class _Share:
    """What one host found on its images of a dataset: the metric's state, rows of the sheet by number of the image, the
    best and the worst images, and the entries of the files of predictions."""

    state: Any
    rows: dict[int, tuple[np.ndarray, ...]]
    best_and_worst: BestAndWorst
    written: list[dict]


class Evaluator:
    """Scores parameters on the validation datasets of a run; keeps what does not depend on the parameters."""

    def __init__(self, settings: Settings, workdir: str, training: list[Dataset], validation: list[Dataset]):
        """Reads the `truth` of datasets with boxes only.

        Raises:
          InputError: a dataset that is scored by masks has neither masks nor a `truth`; or the model has no
            dataset-specific modules for the name or vocabulary of a validation dataset.
        """
        self._settings, self._workdir = settings, Path(workdir)
        self._training, self._validation = training, validation
        for dataset in validation:
            if dataset.task.kind not in TASK_OF:
                where = f"config.validation.{dataset.name}"
                raise InputError(f"{where}: task {dataset.task.kind} has no masks to score; leave the dataset out")
        boxes = bool(settings.model.mask_decoder.get("boxes"))
        self._truth = {d.name: _instance_truth(d, boxes) for d in validation if TASK_OF[d.task.kind] == "instance"}
        self._predictor, self._clicker, self._videos = None, None, None
        for dataset in validation:
            if TASK_OF[dataset.task.kind] == "prompts":
                self._clicker_of(None)
                continue
            if TASK_OF[dataset.task.kind] == "video":
                self._videos = self._videos or VideoScorer(settings)
                continue
            module_row(self._predictor_of(None).checkpoint, dataset.vocabulary, self._modules_of(dataset))

    def run(self, params, step: int, telemetry=None, last: bool = False) -> dict[str, dict[str, float]]:
        """Dataset -> scores as fractions; all hosts must call it.

        The first host sends images and scores to the trackers; after the last run it writes the report.

        Raises:
          InputError: an image cannot be read, on any host.
        """
        params = on_this_host(params)
        results = [self._score(dataset, params, last) for dataset in self._validation]
        scores = {result.dataset.name: result.scores for result in results}
        if telemetry and first():
            telemetry.scores(step, {r.dataset.name: _numbers(r.scores) | _by_class(r) for r in results})
            for result in results:
                if result.rows:
                    telemetry.images(step, f"eval/{result.dataset.name}", sheet(result.rows))
        if last and first():
            write_report(self._workdir, step, results, self._settings)
        return scores

    def _predictor_of(self, params) -> Predictor:
        if self._predictor is None:
            s = self._settings
            thresholds = Thresholds(s.eval.score_threshold, s.eval.overlap_threshold)
            vocabularies, classifiers = trained_words(self._training)
            checkpoint = Checkpoint(
                0, s.model, params, s.scored_image_size, s.text_space, vocabularies, classifiers, thresholds
            )
            self._predictor = Predictor(checkpoint, s.text_encoder or None, jax.local_devices(), s.eval.in_span)
            for dataset in self._validation:
                if dataset.book and dataset.book.embeddings is not None:
                    self._predictor.know(dataset.book.texts, dataset.book.embeddings)
        self._predictor.use(params)
        return self._predictor

    def _clicker_of(self, params) -> Clicker:
        """Raises InputError if the model answers no prompts."""
        words = self._predictor_of(params).vocabularies if self._settings.model.has_queries else None
        if self._clicker is None:
            self._clicker = Clicker(self._settings.model, self._settings.scored_image_size, words)
        self._clicker.use(params)
        return self._clicker

    def _modules_of(self, dataset: Dataset) -> str | None:
        """The training dataset of the same name, whose modules are used; without one the vocabulary decides."""
        return dataset.name if dataset.name in self._settings.model.dataset_specific else None

    def _score(self, dataset: Dataset, params, last: bool) -> DatasetResult:
        """Scores one dataset and merges what all hosts found."""
        task = TASK_OF[dataset.task.kind]
        if task == "video":
            return self._videos.result(dataset, supervision_of(dataset, self._training), params, last)
        predictor = self._clicker_of(params) if task == "prompts" else self._predictor_of(params)
        scorer = SCORERS[task](dataset, self._truth.get(dataset.name), self._settings.eval.ignore_skipped)
        writer = PredictionWriter(self._workdir, dataset) if last and self._settings.eval.write_predictions else None
        shares = gather_from_hosts(lambda: self._score_mine(dataset, predictor, scorer, writer, last))
        scorer.state = functools.reduce(lambda one, other: one.merge(other), (share.state for share in shares))
        if writer and first():
            writer.close(itertools.chain.from_iterable(share.written for share in shares))
        bounded = last and self._settings.eval.upper_bound and task not in ("instance", "prompts")
        bound = upper_bound(dataset, self._settings) if bounded else None
        words = self._words(dataset)

        def scores() -> dict:
            beside = self._baselines(dataset, task) if last else {}
            if bound is not None:
                beside[f"upper_bound_{HEADLINE[task]}"] = bound
            if words:
                beside["nearest_name_accuracy"] = sum(right for *_, right in words) / len(words)
            return scorer.compute() | beside

        rows = {number: row for share in shares for number, row in share.rows.items()}
        return DatasetResult(
            dataset,
            supervision=supervision_of(dataset, self._training),
            scores=gather_from_hosts(lambda: scores() if first() else {})[0],
            thresholds=thresholds_of(dataset, self._settings.eval),
            rows=tuple(rows[number] for number in sorted(rows)),
            best_and_worst=BestAndWorst.joined([share.best_and_worst for share in shares]),
            words=tuple(words),
            confusion=getattr(scorer.state, "confusion", None),
        )

    def _score_mine(
        self,
        dataset: Dataset,
        predictor: Predictor | Clicker,
        scorer: PanopticScorer,
        writer: PredictionWriter | None,
        last: bool,
    ) -> _Share:
        """Scores this host's images."""
        settings = self._settings.eval
        task, batch_size, root = TASK_OF[dataset.task.kind], settings.batch_size, dataset.settings.root
        thresholds = thresholds_of(dataset, settings) or Thresholds(0.0, 0.0)
        side, fill = self._settings.scored_image_size, self._settings.model.fill
        # Spread over the set: images that follow each other are often alike, as those of a video.
        shown = set(range(0, len(dataset.source), max(1, len(dataset.source) // max(1, settings.images))))
        shown = set(sorted(shown)[: settings.images])
        found = _Share(scorer.empty(), {}, BestAndWorst(settings.extremes if last else 0), [])
        scorer.state = found.state

        def read(number: int):
            example = dataset.source[number]
            return number, example, fit(example.image, side, fill)

        def finish(numbers: tuple[int, ...], examples: tuple[Example, ...], wait):
            for number, example, prediction in zip(numbers, examples, wait(), strict=True):
                state, score = scorer.score(example, prediction)
                written = writer.write(number, example, prediction) if writer else None
                yield number, example, prediction, state, score, written

        def settle(job: Future) -> None:
            for number, example, prediction, state, score, written in job.result():
                scorer.add(state)
                found.best_and_worst.add(
                    score, lambda s, e=example, p=prediction: shown_image(e, p, scorer.truth(e), s, root)
                )
                if number in shown:
                    found.rows[number] = overlay_row(example, prediction, scorer.truth(example))
                if written:
                    found.written.append(written)

        jobs: collections.deque[Future] = collections.deque()
        with ThreadPoolExecutor(self._settings.input.threads + 1) as pool:
            examples_ahead = _ahead(
                pool, read, images_of_this_host(len(dataset.source)), 2 * batch_size * predictor.devices
            )
            for batch in _batched(examples_ahead, batch_size * predictor.devices):
                numbers, examples, fitted = zip(*batch, strict=True)
                words = scorer.words(examples)
                if task == "prompts":
                    wait = predictor.start(examples, words)
                else:
                    asked = [example.image for example in examples], fitted, words, task, thresholds
                    wait = predictor.start(*asked, batch_size, self._modules_of(dataset))
                jobs.append(pool.submit(lambda *batch: list(finish(*batch)), numbers, examples, wait))
                if len(jobs) == IN_FLIGHT:
                    settle(jobs.popleft())
            for job in jobs:
                settle(job)
        return dataclasses.replace(found, state=scorer.state)

    def _baselines(self, dataset: Dataset, task: str) -> dict[str, float]:
        """Scores by colour alone, if the config enables them and masks of these categories were trained on."""
        trained = [d for d in self._training if d.name == dataset.name]
        trained = trained or [d for d in self._training if d.vocabulary.spoken == dataset.vocabulary.spoken]
        trained = [d for d in trained if d.task.kind != "boxes"]
        if not (self._settings.eval.baselines and trained):
            return {}
        if task == "referring":
            return phrase_baselines(dataset.source, asked_of)
        if task == "prompts":
            return prompt_baselines((e.image, objects_of(e)[0]) for e in dataset.source)
        if task == "foreground":
            masks = (example.segments >= 0 for example in trained[0].source)
            return foreground_baselines(masks, ((e.image, e.segments >= 0) for e in dataset.source))
        if task != "semantic":
            return {}
        pairs = (_labelled(source) for source in (trained[0].source, dataset.source))
        baselines = semantic_baselines(*pairs, len(dataset.vocabulary))
        return {"colour_classifier_miou": baselines["colour"], "majority_class_miou": baselines["majority"]}

    def _words(self, dataset: Dataset) -> list[tuple[str, str, bool]]:
        """The nearest word to each of a dataset's own names, if it is predicted with other words."""
        if not dataset.settings.words:
            return []
        return nearest_names(dataset.source.vocabulary, dataset.vocabulary, self._predictor.vocabularies.embed)


def _numbers(scores: dict) -> dict[str, float]:
    return {key: value for key, value in scores.items() if isinstance(value, float)}


def _by_class(result: DatasetResult) -> dict[str, dict[str, float]]:
    """The score of each class that the report's curves show."""
    metric = CLASS_SCORES[result.task][0]
    scores = {name: values[metric] for name, values in result.scores.get("per_class", {}).items() if metric in values}
    return {"per_class": scores} if scores else {}


def _ahead(pool: ThreadPoolExecutor, work, items: Iterable, most: int) -> Iterator:
    """`work` of every item in order, at most `most` of them ahead of the consumer."""
    items, jobs = iter(items), collections.deque()
    for item in itertools.islice(items, most):
        jobs.append(pool.submit(work, item))
    while jobs:
        done = jobs.popleft().result()
        for item in itertools.islice(items, 1):
            jobs.append(pool.submit(work, item))
        yield done


def _batched(items: Iterator, size: int) -> Iterator[list]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def _labelled(source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(len(source)):
        example = source[i]
        yield example.image, example.categories


def _instance_truth(dataset: Dataset, boxes: bool) -> InstanceTruth:
    file = dataset.settings.truth
    try:
        return InstanceTruth(dataset.source, os.path.join(dataset.settings.root, file) if file else "", boxes)
    except InputError as error:
        how = "" if file else f"; config.validation.{dataset.name}.truth can name a COCO instances JSON that has some"
        raise InputError(f"{error}{how}") from None
