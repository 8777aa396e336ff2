"""How long a run trains: epochs, and the end when evaluations find nothing better; and what is scored."""

import jax
import numpy as np
import pytest

from data.pipeline.mixture import Mixture
from data.shapes import Counts, write_world
from dataseg_jax.io.checkpoint import load_checkpoint
from experiments import build
from experiments.runtime import settings
from experiments.runtime.loop import train
from tests.experiments import small_run
from tests.messages import one_line


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=8, semantic=4, boxes=4, val=2))
    return str(root)


def run_of(world, **changes):
    config = small_run.get_config()
    config.world.root = world
    config.update_from_flattened_dict(changes)
    return settings.from_config(config, "unused")


class Scores:
    """Stands for the evaluator: gives the scores one by one, and keeps the parameters that it was shown."""

    def __init__(self, *scores):
        self._left, self.steps, self.params = list(scores), [], []

    def run(self, params, step, telemetry):
        self.steps.append(step)
        self.params.append(jax.device_get(params))
        scores = {"panoptic": {"pq": self._left.pop(0)}}
        telemetry.scores(step, scores)
        return scores


@pytest.mark.parametrize("of_size, shares", [(False, (2 / 6, 1 / 6, 3 / 6)), (True, (16 / 32, 4 / 32, 12 / 32))])
def test_ratios_may_multiply_the_numbers_of_images(world, of_size, shares):
    """The world has 8, 4 and 4 images. As often as it is said, and in the printed shares, the mixture draws them."""
    names = ("panoptic", "semantic", "boxes")
    changes = {f"datasets.{name}.ratio": ratio for name, ratio in zip(names, (2.0, 1.0, 3.0), strict=True)}
    changes |= {f"datasets.{name}.ratio_of_size": of_size for name in names}
    run = run_of(world, **changes)
    datasets = [build.open_dataset(d, run, training=True) for d in run.datasets]
    assert build.draw_probabilities(datasets) == pytest.approx(dict(zip(names, shares, strict=True)))
    mixture = Mixture(build.mixture_entries(datasets, run), 4, 5, seed=0, total_steps=2000)
    drawn = np.bincount([mixture.dataset(step) for step in range(2000)], minlength=3) / 2000
    np.testing.assert_allclose(drawn, [shares[names.index(name)] for name in mixture.names], atol=0.04)


def trained(run, workdir, evaluator):
    return train(run, str(workdir), [build.open_dataset(d, run, training=True) for d in run.datasets], evaluator)


def test_training_ends_when_nothing_gets_better_and_stays_ended(world, tmp_path, capsys):
    run = run_of(world, **{"eval.every": 2, "eval.patience": 2, "optim.average": 0.5})
    scores = Scores(0.1, 0.3, 0.2, 0.3)
    state = trained(run, tmp_path, scores)
    assert int(state.step) == 8 and scores.steps == [2, 4, 6, 8]
    said = "no better score since step 4: training ends at step 8"
    assert capsys.readouterr().out.count(said) == 1
    again = trained(run, tmp_path, Scores())
    assert int(again.step) == 8 and said in capsys.readouterr().out

    # What was scored is the average, and it is what a checkpoint is used with.
    used = load_checkpoint(tmp_path).params
    jax.tree.map(np.testing.assert_array_equal, used, scores.params[-1])
    assert not jax.tree.all(jax.tree.map(np.array_equal, used, jax.device_get(state.params)))

    without = run_of(world, **{"optim.average": 0.0})
    one_line(lambda: trained(without, tmp_path, Scores()), "optimiser", "config.optim.average")


def test_epochs_decide_the_steps(world):
    run = run_of(world, epochs=2.5, **{"datasets.boxes.ratio": 0.0})
    images = {"panoptic": 8, "semantic": 4, "boxes": 4}
    assert settings.with_steps_of_epochs(run, images).steps == 8  # 2.5 times 12 images, 4 in a batch.
    assert settings.with_steps_of_epochs(run_of(world, steps=7), images).steps == 7


@pytest.mark.parametrize(("key", "value"), [("epochs", -1.0), ("optim.average", 1.0), ("eval.patience", -1)])
def test_values_that_cannot_be(world, key, value):
    one_line(lambda: run_of(world, **{key: value}), f"config.{key}={value}")


def test_patience_needs_evaluations(world):
    changes = {"eval.patience": 3, "eval.every": 0}
    one_line(lambda: run_of(world, **changes), "config.eval.patience=3: it needs config.eval.every=STEPS")
