"""How much of an evaluation is the model, and how much is reading, pasting back, scoring and writing around it."""

import contextlib
import io
import time
from collections.abc import Callable
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from configs import base
from dataseg_jax import model as models
from dataseg_jax.inference import make_forward
from dataseg_jax.predictor import Predictor
from experiments import build, settings
from experiments.benchmark.rows import Row
from experiments.evaluation import Evaluator

TURNS = 3
INIT_SIDE = 64  # Weights do not depend on the picture's size, and a small one compiles sooner.


def config(coco: str, side: int) -> ConfigDict:
    """A ResNet-50 that is evaluated on a COCO panoptic folder, predictions written; its weights are random.

    Thresholds are 0, so that random weights answer with as many segments as they can.
    """
    c = base.get_config()
    c.image_size = side
    c.eval.update(batch_size=2, score_threshold=0.0, overlap_threshold=0.0, pictures=4, write_predictions=True)
    places = dict(images="val2017|images", masks="annotations/panoptic_val2017|panoptic")
    places["annotations"] = "annotations/panoptic_val2017.json|panoptic.json"
    for group in (c.datasets, c.validation):
        group.coco = base.dataset(root=coco, vocabulary="coco_panoptic", **places)
    return c


def rows(c: ConfigDict, pictures: int, workdir: str) -> list[Row]:
    """Runs the real evaluation of the first pictures, and the network alone on as many, in turns.

    Raises:
      InputError: a dataset of the config cannot be opened.
    """
    for dataset in c.validation.values():
        dataset.limit = pictures
    run = settings.from_config(c, workdir)
    datasets = [build.open_dataset(d, run) for d in run.validation]
    evaluator = Evaluator(run, workdir, datasets, datasets)
    module = models.build(run.model)
    # Jitted: op by op, the weights would take longer than the measurement.
    params = jax.jit(module.init)(jax.random.key(0), *build.dummy_arguments(run.model, INIT_SIDE))["params"]
    network = _network(module, params, run, datasets)

    predicting = 0.0
    predict = Predictor.predict

    def watched(*args, **kwargs):
        nonlocal predicting
        began = time.perf_counter()
        try:
            return predict(*args, **kwargs)
        finally:
            predicting += time.perf_counter() - began

    turns = []
    with mock.patch.object(Predictor, "predict", watched):
        for _ in range(TURNS + 1):
            predicting, began = 0.0, time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):  # The report is printed; here its cost counts.
                evaluator.run(params, 0, last=True)
            whole, began = time.perf_counter() - began, time.perf_counter()
            network()
            turns.append((whole, predicting, time.perf_counter() - began))
    turns = turns[1:]  # The first one compiled.
    whole, inside, _ = min(turns)
    alone = min(turn[2] for turn in turns)
    count = sum(len(d.source) for d in datasets)
    where = f"eval at {run.image_size}x{run.image_size}, {count} pictures, {jax.devices()[0].platform}"
    return [
        Row(f"{where}: a picture", 1000 * whole / count, "ms"),
        Row(f"{where}: the network alone", 100 * alone / whole, "%"),
        Row(f"{where}: fitting, post-processing, pasting back", 100 * (inside - alone) / whole, "%"),
        Row(f"{where}: reading, scoring, writing", 100 * (whole - inside) / whole, "%"),
    ]


def _network(module, params, run: settings.Settings, datasets: list[build.Dataset]) -> Callable[[], None]:
    """The network on as many batches as the evaluation has, as a function to time."""
    forward, batch = make_forward(module), run.eval.batch_size
    square = np.zeros((batch, run.image_size, run.image_size, 3), np.uint8)
    batches = {}
    for dataset in datasets:
        row = build.task_table([dataset])
        batches[dataset.name] = row.classifiers[0], row.category_valid[0], -(-len(dataset.source) // batch)

    def network():
        for classifiers, valid, count in batches.values():
            for _ in range(count):
                jax.block_until_ready(forward(params, square, classifiers, valid))

    return network
