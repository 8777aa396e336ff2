"""The score that a perfect model would reach: the ground truth, resized to the model's input and output sizes."""

import functools

import numpy as np

from data.pipeline.transforms import augment, evaluation_fit
from data.pipeline.wire import to_wire
from dataseg_jax.inference.assemble import assemble
from dataseg_jax.results.thresholds import Thresholds
from experiments.build import Dataset
from experiments.evaluation.dataset_result import thresholds_of
from experiments.evaluation.scorers import HEADLINE, SCORERS, TASK_OF
from experiments.runtime.hosts.gather import gather_from_hosts, images_of_this_host
from experiments.runtime.settings import Settings

CERTAIN = 20.0  # Logit of a perfect class prediction.
_SHARES = np.clip(np.arange(256) / 255.0, 1e-3, 1 - 1e-3)
_LOGITS = np.log(_SHARES / (1 - _SHARES)).astype(np.float32)  # Of every value of a wire mask: a table needs no copies.


def upper_bound(dataset: Dataset, settings: Settings) -> float:
    """The score of the ground truth after resizing to the input size and to stride-4 masks and back.

    All hosts must call it.
    """
    task = TASK_OF[dataset.task.kind]
    scorers = gather_from_hosts(lambda: _score_mine(dataset, settings, task).state)
    scorer = SCORERS[task](dataset)
    scorer.state = functools.reduce(lambda one, other: one.merge(other), scorers)
    return scorer.compute()[HEADLINE[task]]


def _score_mine(dataset: Dataset, settings: Settings, task: str):
    scorer = SCORERS[task](dataset)
    side = settings.scored_image_size
    fitting = evaluation_fit((side, side))
    k = len(dataset.vocabulary)
    for i in images_of_this_host(len(dataset.source)):
        example = dataset.source[i]
        fitted, size = augment(example, fitting, np.random.default_rng(0))
        # Room for all targets, so that their number does not limit the score.
        max_targets = max(len(example.labels), 1)
        wire = to_wire(fitted, size, max_targets=max_targets, mergeable=dataset.task.mergeable, task=0, form="coverage")
        class_logits = np.where(
            np.arange(k + 1) == np.where(wire["valid"], wire["labels"], k)[:, None], CERTAIN, -CERTAIN
        )
        result = assemble(
            [example.image],
            class_logits[None].astype(np.float32), _LOGITS[wire["masks"]][None],
            [size], dataset.task.mergeable, dataset.vocabulary, task,
            thresholds_of(dataset, settings.eval) or Thresholds(),
        )[0]  # fmt: skip
        scorer.add(scorer.score(example, result)[0])
    return scorer
