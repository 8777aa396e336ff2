"""How much of an evaluation is the network, and how much is reading, resizing back, scoring and writing around it."""

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from dataseg_jax.inference.forward import make_forward
from dataseg_jax.inference.predictor import Predictor
from dataseg_jax.inference.preprocess import fit
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.networks import spec as models
from dataseg_jax.results.thresholds import Thresholds
from experiments import build
from experiments.benchmark.rows import Row
from experiments.evaluation.evaluator import Evaluator
from experiments.runtime import settings

TURNS = 3
INIT_SIDE = 64  # Weights do not depend on the image's size, and a small one compiles sooner.
THRESHOLDS = 0.8, 0.0  # The usual one, and one at which random weights predict as many segments as they can.


def config(coco: str, side: int) -> ConfigDict:
    """A ResNet-50 that is evaluated on a COCO panoptic folder, predictions written; its weights are random."""
    c = base.get_config()
    c.image_size = side
    c.eval.update(batch_size=2, images=4, write_predictions=True)
    places = dict(images="val2017|images", masks="annotations/panoptic_val2017|panoptic")
    places["annotations"] = "annotations/panoptic_val2017.json|panoptic.json"
    for group in (c.datasets, c.validation):
        group.coco = base.dataset(root=coco, vocabulary="coco_panoptic", **places)
    return c


def rows(c: ConfigDict, images: int, workdir: str, thresholds: Sequence[float] = THRESHOLDS) -> list[Row]:
    """Runs the real evaluation of the first images, report and all, and parts of it alone, in turns.

    Raises:
      InputError: a dataset of the config cannot be opened.
    """
    for dataset in c.validation.values():
        dataset.limit = images
    run = settings.from_config(c, workdir)
    dataset = build.open_dataset(run.validation[0], run)
    module = models.build(run.model)
    # Jitted: op by op, the weights would take longer than the measurement.
    params = jax.jit(module.init)(jax.random.key(0), *build.dummy_arguments(run.model, INIT_SIDE))["params"]
    return [row for threshold in thresholds for row in _rows_at(threshold, run, dataset, params, workdir)]


def _rows_at(threshold: float, run: settings.Settings, dataset: build.Dataset, params, workdir: str) -> list[Row]:
    both = dict(score_threshold=threshold, overlap_threshold=threshold)
    run = dataclasses.replace(run, eval=dataclasses.replace(run.eval, **both))
    evaluator = Evaluator(run, workdir, [dataset], [dataset])
    network, answering = _alone(run, dataset, params)

    def whole():
        with contextlib.redirect_stdout(io.StringIO()):  # The report is printed; here its cost counts.
            evaluator.run(params, 0, last=True)

    segments = answering()
    turns = [[_seconds(work) for work in (whole, network, answering)] for _ in range(TURNS + 1)]
    seconds, inside, both = np.min(turns[1:], 0)  # The first one compiled.
    count = len(dataset.source)
    kept = f"thresholds {threshold:g}, {segments / count:.1f} segments per image"
    where = f"eval at {run.image_size}x{run.image_size}, {count} images, {jax.devices()[0].platform}, {kept}"
    return [
        Row(f"{where}: per image", 1000 * seconds / count, "ms"),
        Row(f"{where}: outside the network", 100 * (seconds - inside) / seconds, "%"),
        Row(f"{where}: of that, predictions at the images' own size", 100 * (both - inside) / seconds, "%"),
        Row(f"{where}: of that, reading, fitting, scoring, writing, report", 100 * (seconds - both) / seconds, "%"),
    ]


def _alone(run: settings.Settings, dataset: build.Dataset, params) -> tuple[Callable[[], None], Callable[[], int]]:
    """Two functions over all batches of a dataset, whose images are read and fitted already: the network alone, and
    the network with its predictions, which returns the number of their segments."""
    size = run.eval.batch_size
    predictor = Predictor(Checkpoint(0, run.model, params, run.image_size, run.text_space, {}, {}))
    images = [dataset.source[i].image for i in range(len(dataset.source))]
    fitted = [fit(image, run.image_size) for image in images]
    row, empty = predictor.row(dataset.vocabulary, "panoptic"), np.zeros((size, *fitted[0][0].shape), np.uint8)
    forward = make_forward(models.build(run.model))
    thresholds = Thresholds(run.eval.score_threshold, run.eval.overlap_threshold)
    starts = range(0, len(images), size)

    def network():
        for _ in starts:
            jax.block_until_ready(forward(predictor.params, empty, row["classifiers"], row["category_valid"]))

    def answering():
        batches = (
            predictor.start(
                images[i : i + size], fitted[i : i + size], dataset.vocabulary, "panoptic", thresholds, size
            )
            for i in starts
        )
        return sum(len(result.segments) for finish in batches for result in finish())

    return network, answering


def _seconds(work: Callable) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
