"""Targets, and the programs for them: the arrays are those of a real run, and wrong flags are said in one line."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import mixture, mqformer_quickstart, sam_b, vitdet_b
from data.shapes import Counts, write_world
from dataseg_jax.training import sharding
from experiments import build
from experiments.compile_ahead import program, target
from experiments.compile_ahead.devices import DEVICES
from experiments.runtime.start import batch_size, fresh
from tests.messages import one_line


def test_targets():
    one, many = target.parse("h100"), target.parse("h100:8", hosts=4)
    assert (one.count, one.of_a_host, one.platform, str(one)) == (1, 1, "cuda", "1 host x 1 h100")
    assert (many.count, many.of_a_host, str(many)) == (32, 8, "4 hosts x 8 h100")
    flat, cube = target.parse("v5e:4x4"), target.parse("v5p:4x4x4")
    assert (flat.count, flat.of_a_host, flat.platform, flat.device.kind) == (16, 16, "tpu", "TPU v5 lite")
    assert cube.count == 64 and cube.device.peak("bf16") == 459e12 and cube.device.peak("f8e4m3fn") == 459e12


@pytest.mark.parametrize(
    ("text", "hosts", "message"),
    [
        ("h1000", 1, "no device 'h1000'; it is one of a100, h100"),
        ("h100:many", 1, "the number of GPUs of each host, as in h100:8"),
        ("h100:0", 1, "the number of GPUs of each host"),
        ("h100", 0, "--hosts=0: it must be at least 1"),
        ("h100:8", 10**6, "8000000 devices; 16384 are the most"),
        ("v5e", 1, "the chips along 2 axes, as in v5e:4x4"),
        ("v5p:4x4", 1, "the chips along 3 axes, as in v5p:4x4x4"),
        ("v5e:4x4", 2, "leave --hosts out"),
    ],
)
def test_wrong_targets(text, hosts, message):
    one_line(lambda: target.parse(text, hosts), message)


def test_a_missing_compiler_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(target.importlib.util, "find_spec", lambda name: None)
    one_line(lambda: target.devices_of(target.parse("h100")), "pip install '.[ahead-cuda]'")
    one_line(lambda: target.require_plugin(target.parse("v4:2x2x1")), "pip install '.[ahead-tpu]'")


def test_cards_have_the_numbers_of_the_table():
    for name in ("a100", "h100", "h200"):
        text = target.card(name)
        assert text.count("{") == text.count("}") and f'"{DEVICES[name].kind}"' in text
        assert f"device_memory_size: {DEVICES[name].memory} " in text


def test_the_arrays_are_those_of_a_run_on_the_datasets(tmp_path):
    """Masks, boxes and phrases."""
    config = mqformer_quickstart.get_config("family,smoke")
    config.world.root = str(tmp_path / "world")
    config.batch_size = 4
    write_world(config.world.root, counts=Counts(panoptic=2, semantic=2, boxes=2, referring=2, foreground=2, val=1))
    run = program.settings_of(config)
    some = [dataset for dataset in run.datasets if dataset.name in ("panoptic", "boxes", "referring")]
    run = dataclasses.replace(run, datasets=tuple(some))
    datasets = [build.open_dataset(dataset, run, training=True) for dataset in run.datasets]
    notes = []
    batch, table = program.step_inputs(run, notes)
    assert batch == batch_size._shapes_of(run, datasets, 4) and notes == []
    real = build.task_table(datasets)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), table) == jax.tree.map(
        lambda a: (a.shape, a.dtype), real
    )


def test_what_is_in_files_is_assumed(tmp_path):
    config = vitdet_b.get_config("tiny,datasets=coco")
    config.datasets.coco.vocabulary = ""
    config.datasets["lvis"] = mixture.training_set("lvis")
    notes = []
    batch, table = program.step_inputs(program.settings_of(config), notes)
    assert notes == ["coco: its vocabulary is in its files, 64 categories were assumed"]
    assert table.classifiers.shape[1] >= 1203 and batch.class_known.shape == (2, table.classifiers.shape[1])
    config.batch_size = 0
    one_line(lambda: program.settings_of(config), "config.batch_size=0", "--config.batch_size=N")


@pytest.fixture(scope="module")
def run():
    config = vitdet_b.get_config("tiny,datasets=coco")
    config.batch_size = 2
    return program.settings_of(config)


def test_the_train_step_is_that_of_a_run(run):
    made = program.train_program(run, jax.devices()[:1], callbacks=False)
    assert made.images == 2 and made.dtype == "bfloat16" and "hungarian_jit" in made.notes[0]
    shapes = fresh.trainable(run, sharding.make_mesh()).shapes
    assert made.arguments[0] == shapes
    assert made.parameters == sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes.params))
    assert 2 * made.parameters <= made.optimiser < 2 * made.parameters + 1000  # Adam's two moments, and counters.

    forward = program.predict_program(run, jax.devices()[:1])
    # Backward is twice forward, and the objective, which sees all layers, has products too.
    assert 3 < made.flops / forward.flops < 4.5


def test_what_cannot_be_compiled(run):
    one_line(lambda: program.train_program(run, [None] * 3, False), "config.batch_size=2 is not a multiple of the 3")
    prompts = program.settings_of(sam_b.get_config())
    one_line(lambda: program.predict_program(run, [None] * 2, "panoptic"), "--answer=panoptic is for one device")
    one_line(lambda: program.predict_program(prompts, jax.devices()[:1]), "--mode=predict is for models with queries")


@pytest.mark.parametrize("task", program.ANSWERS)
def test_an_answer_is_what_an_exported_program_returns(run, task):
    made = program.predict_program(run, jax.devices()[:1], task)
    answer = jax.eval_shape(made.function, *made.arguments)
    side, queries = run.scored_image_size, run.model.mask_decoder["queries"]
    maps = {"panoptic": "ids", "semantic": "labels", "foreground": "foreground"}
    if task in maps:
        assert answer[maps[task]].shape == (2, side, side) and answer[maps[task]].dtype == np.int32
    else:
        assert answer["masks"].shape[2:] == (side, side) and answer["masks"].dtype == bool
    if task == "instance":
        assert answer["masks"].shape[1] == answer["scores"].shape[1] == queries
    assert made.flops == program.predict_program(run, jax.devices()[:1]).flops
