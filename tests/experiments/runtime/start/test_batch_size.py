"""The largest batch that fits: what is measured, and that a run keeps it."""

import jax
import pytest

from configs import mqformer_quickstart
from data.pipeline.mixture import Mixture
from data.shapes import Counts, write_world
from dataseg_jax.objective.targets import expand_targets
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


def test_what_is_measured_has_the_arrays_of_a_batch(tmp_path):
    """Phrases and known categories too, whatever dataset the batch is of."""
    config = mqformer_quickstart.get_config("family,smoke")
    config.world.root, config.batch_size = str(tmp_path / "world"), 0
    write_world(config.world.root, counts=Counts(panoptic=2, semantic=2, boxes=2, referring=2, foreground=2, val=1))
    run = settings.from_config(config, str(tmp_path))
    some = {"panoptic", "boxes", "referring"}
    datasets = [build.open_dataset(dataset, run, training=True) for dataset in run.datasets if dataset.name in some]
    datasets[0].source.image_counts = [1] * len(datasets[0].vocabulary)
    mixture = Mixture(build.mixture_entries(datasets, run), 3, run.max_targets, seed=0, total_steps=30)
    batches = {mixture.dataset(step): mixture.batch(step) for step in range(30)}
    assert len(batches) == 3
    measured = batch_size._shapes_of(run, datasets, 3)
    assert measured.words.classifiers.shape == (3, run.max_words, 384) and measured.class_known.shape == (3, 64)
    for batch in batches.values():
        assert jax.eval_shape(expand_targets, batch) == measured
    plain = batch_size._shapes_of(run, datasets[1:2], 3)
    assert plain.words is None and plain.class_known is None


@pytest.mark.slow
def test_the_largest_batch_fits_and_one_a_tenth_larger_does_not(opened):
    run, datasets = opened
    mesh = sharding.make_mesh()
    limit = batch_size.bytes_of_a_step(run, datasets, mesh, 10) + 1000
    found = batch_size.largest_batch(run, datasets, limit)
    assert 8 <= found <= 11 and batch_size.bytes_of_a_step(run, datasets, mesh, found) <= limit
    one_line(lambda: batch_size.largest_batch(run, datasets, 1000), "batch_size=0: a step of 1 images takes")


def test_a_run_keeps_its_batch(opened, tmp_path, monkeypatch, capsys):
    run, datasets = opened
    sizes = iter((7, 9))
    monkeypatch.setattr(batch_size, "largest_batch", lambda *_: next(sizes))
    assert batch_size.of_workdir(run, str(tmp_path), datasets) == 7
    assert batch_size.of_workdir(run, str(tmp_path), datasets) == 7
    assert "7, the largest that fits" in capsys.readouterr().out
    (tmp_path / batch_size.FILE).write_text('{"batch_size": 1e999}')
    one_line(lambda: batch_size.of_workdir(run, str(tmp_path), datasets), batch_size.FILE)
