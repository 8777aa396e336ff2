"""EfficientNet-Lite in the real program: from weights of a file, through steps of training, into predictions."""

import csv
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from dataseg_jax import Predictor
from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from experiments.runtime import settings
from experiments.runtime.start import pretrained
from tests.experiments.pretrained import lite_run


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file by our names: statistics of no training, but not those of the initial values."""
    backbone = models.build(settings.model_spec(lite_run.get_config())).backbone
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = flatten_dict(jax.eval_shape(backbone.init, jax.random.key(0), x)["params"], sep="/")
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(0, (leaf.size / leaf.shape[-1]) ** -0.5, leaf.shape)
        if name.endswith("kernel")
        else rng.uniform(0.5, 1.5, leaf.shape)
        for name, leaf in shapes.items()
    }
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, path)
    return path


@pytest.mark.parametrize("key", ["mean", "std"])
def test_pixels_of_another_mean_are_refused(weights, key):
    config = lite_run.get_config()
    config.model[key] = (1.0, 2.0, 3.0)
    value = {"mean": 127.0, "std": 128.0}[key]
    with pytest.raises(InputError) as error:
        pretrained.read(settings.model_spec(config), 64, str(weights))
    said = f"config.model.{key} is (1.0, 2.0, 3.0): set config.model.{key}=({value}, {value}, {value})"
    assert str(error.value) == f"{weights} was trained on pixels of mean 127 and deviation 128, and {said}"
    assert len(pretrained.read(settings.model_spec(lite_run.get_config()), 64, str(weights)).backbone) == 5 * 21


@pytest.mark.slow
def test_two_steps_from_weights(weights, tmp_path):
    config = "--config=tests/experiments/pretrained/lite_run.py"
    command = [sys.executable, "-m", "experiments.main", config, "--mode=train"]
    command += [f"--workdir={tmp_path}", f"--config.pretrained.backbone={weights}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "105 of the backbone's 105 parameters from" in done.stdout and "84 of them frozen" in done.stdout
    with (tmp_path / "losses.csv").open() as file:
        assert all(0 < float(row["loss"]) < 50 for row in csv.DictReader(file))
    record = json.loads(next(tmp_path.glob("checkpoints/*/model/model.json")).read_text())
    assert record["model"]["mean"] == [127.0] * 3  # Predictions normalise as training did.
    image = np.random.default_rng(0).integers(0, 255, (48, 80, 3), np.uint8)
    assert Predictor.from_checkpoint(tmp_path)(image, "shapes_panoptic").ids.shape == (48, 80)
