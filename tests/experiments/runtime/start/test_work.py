"""The FLOPs of a step, and the share of a device's peak that an image takes."""

import dataclasses

import jax
import pytest

from data.shapes import Counts, write_world
from experiments import build
from experiments.compile_ahead.devices import DEVICES
from experiments.runtime import settings
from experiments.runtime.start import batch_size, work
from tests.experiments import small_run


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=2, semantic=2, boxes=2, val=2))
    config = small_run.get_config()
    config.world.root = str(root)
    run = settings.from_config(config, "unused")
    return run, [build.open_dataset(dataset, run, training=True) for dataset in run.datasets]


def test_recomputation_and_parts_are_not_counted(opened):
    run, datasets = opened
    batch, table = batch_size._shapes_of(run, datasets, run.batch_size), build.task_table(datasets)
    plain = work.step_flops(run, batch, table)
    decoder = {**run.model.mask_decoder, "remat": True, "scan": True}
    saving = dataclasses.replace(run, model=dataclasses.replace(run.model, mask_decoder=decoder), accumulate=2)
    assert work.without_remat(saving.model).mask_decoder["remat"] is False
    assert work.without_remat(run.model) == run.model
    assert work.step_flops(saving, batch, table) == plain > 0


def test_the_share_of_an_image(opened, monkeypatch):
    run, datasets = opened
    assert work.share_of_an_image(run, datasets) == 0  # The peak of a CPU is not known.
    here = dataclasses.replace(DEVICES["h100"], kind=jax.devices()[0].device_kind)
    monkeypatch.setitem(work.DEVICES, "here", here)
    monkeypatch.setattr(work, "step_flops", lambda *arguments: 4e15)
    share = work.share_of_an_image(run, datasets)
    assert share == pytest.approx(4e15 / run.batch_size / here.peak("f32") / jax.device_count())
