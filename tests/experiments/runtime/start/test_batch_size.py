"""The largest batch that fits: what is measured, and that a run keeps it."""

import pytest

from data.shapes import Counts, write_world
from dataseg_jax.training import sharding
from experiments import build
from experiments.runtime import settings
from experiments.runtime.start import batch_size
from tests.experiments import small_run
from tests.messages import one_line


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=2, semantic=2, boxes=2, val=2))
    config = small_run.get_config()
    config.world.root, config.batch_size = str(root), 0
    run = settings.from_config(config, "unused")
    return run, [build.open_dataset(dataset, run, training=True) for dataset in run.datasets]


@pytest.mark.slow
def test_the_largest_batch_fits_and_one_a_tenth_larger_does_not(opened):
    run, datasets = opened
    table, mesh = build.task_table(datasets), sharding.make_mesh()
    limit = batch_size.bytes_of_a_step(run, table, mesh, 10) + 1000
    found = batch_size.largest_batch(run, table, limit)
    assert 8 <= found <= 11 and batch_size.bytes_of_a_step(run, table, mesh, found) <= limit
    one_line(lambda: batch_size.largest_batch(run, table, 1000), "batch_size=0: a step of 1 images takes")


def test_a_run_keeps_its_batch(opened, tmp_path, monkeypatch, capsys):
    run, datasets = opened
    sizes = iter((7, 9))
    monkeypatch.setattr(batch_size, "largest_batch", lambda *_: next(sizes))
    assert batch_size.of_workdir(run, str(tmp_path), datasets) == 7
    assert batch_size.of_workdir(run, str(tmp_path), datasets) == 7
    assert "7, the largest that fits" in capsys.readouterr().out
    (tmp_path / batch_size.FILE).write_text('{"batch_size": 1e999}')
    one_line(lambda: batch_size.of_workdir(run, str(tmp_path), datasets), batch_size.FILE)
