"""Clicks and words in one run: one compiled step, one checkpoint that answers both."""

import contextlib

import jax
import numpy as np
import pytest

from configs import promptable_quickstart
from data.pipeline.mixture import Mixture
from data.shapes import Counts, World, write_world
from dataseg_jax import Predictor, PromptPredictor
from dataseg_jax.errors import InputError
from dataseg_jax.io.checkpoint import Checkpoint
from dataseg_jax.training import sharding
from experiments import build
from experiments.evaluation.evaluator import Evaluator
from experiments.runtime.device_feed import device_batches
from experiments.runtime.settings import from_config
from experiments.runtime.start import fresh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(settings, training and validation datasets, state after a step of each dataset, metrics by dataset, step)."""
    workdir = tmp_path_factory.mktemp("both")
    c = promptable_quickstart.get_config("smoke")
    c.world.counts.update(panoptic=8, semantic=8, boxes=8, parts=8, val=3)
    c.batch_size, c.steps = 2, 60
    c.model.backbone.update(stage_sizes=(1, 1), width=8)
    c.model.pixel_decoder.update(width=16, ffn=32)
    c.model.mask_decoder.update(queries=6, width=16, ffn=32, layers=1, memory_levels=1)
    c.model.prompt_encoder.width = 16
    c.model.prompt_decoder.update(width=16, heads=2, ffn=32, iou_hidden=16)
    for name in ("trained_words", "synonyms", "unrelated", "semantic", "boxes"):
        del c.validation[name]
    settings = from_config(c, str(workdir))
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


def test_four_datasets_take_one_compiled_step_and_each_has_its_terms(run):
    _, (training, _), _, metrics, step, _ = run
    assert set(metrics) == {"panoptic", "semantic", "boxes", "parts"} and step._cache_size() == 1
    for row, dataset in enumerate(training):
        found = metrics[dataset.name]
        assert not found.skipped and np.isfinite(found.loss)
        terms = {name: float(value[row]) for name, value in found.terms_by_task.items()}
        # Prompts are made of single objects with masks: not of boxes, nor of all that is of a category.
        assert (terms["iou"] > 0) == (dataset.name in ("panoptic", "parts")), dataset.name
        assert (terms["proj"] > 0) == (dataset.name == "boxes") and terms["ce"] > 0


def test_one_checkpoint_answers_words_and_clicks_and_both_are_scored(run):
    settings, (training, validation), state, _, _, workdir = run
    scores = Evaluator(settings, str(workdir), training, validation).run(state.params, 60, last=True)
    assert set(scores) == {"panoptic", "parts"} and "pq" in scores["panoptic"]
    assert {"miou_1", "miou_3", "miou_5", "noc_90", "miou_box", "named_right"} <= set(scores["parts"])
    assert "mIoU after 1 click" in (workdir / "report.html").read_text()
    assert (workdir / "overlays" / "parts.png").exists()

    params, image = jax.device_get(state.params), validation[0].source[0].image
    vocabularies, classifiers = build.trained_words(training)
    checkpoint = Checkpoint(
        60, settings.model, params, settings.image_size, settings.text_space, vocabularies, classifiers
    )
    predictor = Predictor(checkpoint)
    assert predictor(image, "circle, grass:stuff", task="panoptic").ids.shape == image.shape[:2]
    prompts = PromptPredictor(params, settings.model, settings.image_size, predictor.vocabularies)
    prompts.set_image(image)
    named = prompts.predict_named("circle, star, core", points=[[[10, 12]], [[40, 30]]], labels=[[1], [1]])
    plain = prompts.predict(points=[[[10, 12]], [[40, 30]]], labels=[[1], [1]])
    np.testing.assert_array_equal(named.masks, plain.masks)
    assert named.labels.shape == named.scores.shape == (2, 3) and set(named.labels.ravel()) <= {0, 1, 2}
    # Masks of a stride of 2: finer than the targets.
    assert plain.low_res.shape == (2, 3, 32, 32)
    alone = PromptPredictor(params, settings.model, settings.image_size)
    alone.set_image(image)
    with pytest.raises(InputError, match="has no words"):
        alone.predict_named("circle", points=[[[1, 1]]], labels=[[1]])
