"""All five kinds of data in one run: one compiled step, one checkpoint that answers every task, one report of each."""

import contextlib
import json

import jax
import numpy as np
import pytest

from configs import mqformer_quickstart
from data.pipeline.mixture import Mixture
from dataseg_jax import Predictor
from dataseg_jax.text.embeddings import bundled_texts
from dataseg_jax.training import sharding
from experiments import build
from experiments.evaluation.evaluator import Evaluator
from experiments.evaluation.scoring.referring import score_referring
from experiments.runtime.device_feed import device_batches
from experiments.runtime.settings import from_config
from experiments.runtime.start import fresh

KINDS = {"panoptic", "semantic", "boxes", "referring", "foreground"}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """(settings, datasets, state after one step of each dataset, metrics by dataset, the step function, workdir)."""
    workdir = tmp_path_factory.mktemp("family")
    c = mqformer_quickstart.get_config("family,smoke")
    c.world.counts.update(panoptic=8, semantic=8, boxes=8, referring=8, foreground=8, val=6)
    c.batch_size, c.steps = 2, 60
    c.model.backbone.update(stage_sizes=(1, 1, 1), width=8)
    c.model.pixel_decoder.update(width=16, ffn=32)
    c.model.mask_decoder.update(queries=6, conditional=5, width=16, ffn=32, layers=1, memory_levels=1, denoising=4)
    c.eval.update(images=2, write_predictions=True)
    for name in ("trained_words", "synonyms", "unrelated"):
        del c.validation[name]
    settings = from_config(c, str(workdir))
    from data.shapes import Counts, World, write_world

    world = dict(settings.world)
    write_world(world["root"], World(**world["constants"]), Counts(**world["counts"]), workers=1)
    training = [build.open_dataset(d, settings, training=True) for d in settings.datasets]
    validation = [build.open_dataset(d, settings) for d in settings.validation]
    mixture = Mixture(build.mixture_entries(training, settings), 2, settings.max_targets, 0, settings.steps)
    mesh = sharding.make_mesh(1, devices=jax.devices()[:1])
    trainable = fresh.trainable(settings, mesh)
    state, metrics, table = trainable.fresh_state(), {}, jax.device_put(build.task_table(training))
    for step in range(settings.steps):
        name = training[mixture.dataset(step)].name
        if name not in metrics:
            batches = iter([(step, 0, mixture.batch(step))])
            with contextlib.closing(device_batches(batches, mesh)) as fed:
                state, metrics[name] = trainable.step(state, next(fed).batch, table)
    return settings, (training, validation), state, metrics, trainable.step, workdir


def test_five_kinds_of_data_take_one_compiled_step(family):
    _, (training, _), _, metrics, step, _ = family
    assert set(metrics) == KINDS and step._cache_size() == 1
    for place, dataset in enumerate(training):
        of = metrics[dataset.name]
        assert float(of.skipped) == 0 and float(of.loss) > 0
        assert np.flatnonzero(of.diagnostics.images).tolist() == [place]
        terms = {name for name, value in of.terms_by_task.items() if float(value[place]) > 0}
        of_masks = {"proj"} if dataset.name == "boxes" else {"focal", "dice"}
        assert terms == {"class_focal", "l1", "giou"} | of_masks


def test_one_checkpoint_answers_all_and_the_report_shows_each(family):
    settings, (training, validation), state, _, _, workdir = family
    scores = Evaluator(settings, str(workdir), training, validation).run(state.params, 5, None, last=True)
    headline = {"panoptic": "pq", "semantic": "miou", "boxes": "box_ap", "referring": "miou", "foreground": "mae"}
    assert set(scores) == KINDS
    for name, metric in headline.items():
        assert 0 <= scores[name][metric] <= 1
    assert scores["referring"]["absent_empty"] >= 0 and scores["referring"]["class_only_miou"] > 0
    assert scores["foreground"]["contrast_mae"] > 0
    page = (workdir / "report.html").read_text()
    assert all(f"<h2>{name}" in page or f">{name}<" in page for name in KINDS)
    assert "different ones" in page and "mIoU of always the largest object" in page
    written = json.loads((workdir / "results.json").read_text())["scores"]["referring"]
    folder = workdir / "predictions" / "referring"
    again = score_referring(str(folder / "ground_truth"), str(folder / "predictions"), 1)
    for metric in ("miou", "oiou", "p50"):
        assert again[metric] == pytest.approx(written[metric], abs=1e-9)


def test_the_predictor_answers_every_task(family):
    settings, (_, validation), state, *_ = family
    predictor = Predictor.from_params(state.params, settings.model, settings.image_size)
    image = validation[0].source[0].image
    for task in ("panoptic", "semantic", "instance", "detection"):
        assert predictor(image, "disc, star, grass:stuff", task=task).task == task
    assert predictor(image, task="foreground").foreground.shape == image.shape[:2]
    asked = predictor(image, task="referring", phrases=["the left disc", "the star"], score_threshold=0.0)
    assert {s.name for s in asked.segments} <= {"the left disc", "the star"}


def test_the_phrases_of_the_world_need_no_encoder(family):
    _, (training, _), *_ = family
    book = next(dataset.book for dataset in training if dataset.book)
    assert set(book.texts) <= set(bundled_texts())
