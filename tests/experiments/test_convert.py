"""Pretrained weights through the real programs: the conversion's command line, and the start of a training run."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from configs import quickstart
from dataseg_jax.training import sharding
from experiments import build
from experiments.runtime import settings
from experiments.runtime.start import pretrained
from tests.dataseg_jax.io.weights import hostile_pickles, hostile_zips
from tests.messages import one_line

BACKBONE = dict(stage_sizes=(1, 2, 2), width=8, bottleneck=False, norm="frozen_batch", stem="imagenet")
FLAGS = (
    "--config=configs/quickstart.py:smoke",
    *(f"--config.model.backbone.{key}={value}" for key, value in BACKBONE.items() if key != "stage_sizes"),
)
LEAVES = dict(frozen_scale="weight", frozen_bias="bias", frozen_mean="running_mean", frozen_var="running_var")


@pytest.fixture(scope="module")
def config():
    config = quickstart.get_config("smoke")
    config.model.backbone.update(BACKBONE)
    return config


@pytest.fixture(scope="module")
def checkpoint(config, tmp_path_factory):
    """(file, values by our names): a torchvision-named ResNet of basic blocks with random values."""
    shapes = jax.eval_shape(build.build_model(config).init, jax.random.key(0), *build.dummy_batch(config))["params"]
    rng = np.random.default_rng(0)
    flat, file = {}, {"fc.weight": np.ones((5, 64), np.float32), "fc.bias": np.ones(5, np.float32)}
    for name, leaf in flatten_dict(shapes["backbone"], sep="/").items():
        flat[name] = rng.uniform(0.1, 1, leaf.shape).astype(np.float32)
        layer, leaf = name.rsplit("/", 1)
        layer = layer.replace("stem_conv", "conv1").replace("stem_norm", "bn1")
        layer = layer.replace("shortcut_norm", "downsample.1").replace("shortcut", "downsample.0").replace("norm", "bn")
        if layer.startswith("stage"):  # stage2_block1/bn1 -> layer2.0.bn1
            layer = f"layer{layer[5]}.{int(layer[12]) - 1}.{layer[14:]}"
        array = flat[name].transpose(3, 2, 0, 1) if leaf == "kernel" else flat[name]
        file[f"{layer}.{LEAVES.get(leaf, 'weight')}"] = np.ascontiguousarray(array)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(file, path)
    return path, flat


def run(module, *arguments):
    command = [sys.executable, "-m", f"experiments.{module}", *FLAGS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_the_command_writes_our_names_which_load_again(config, checkpoint, tmp_path):
    path, flat = checkpoint
    done = run("convert", f"--weights={path}", f"--out={tmp_path / 'ours.npz'}")
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith(f"{len(flat)} of the backbone's {len(flat)} parameters from {path}")
    assert "stem_conv/kernel 7 x 7 x 3 x 8 loaded conv1.weight" in lines
    assert "fc.bias left out the classifier of images" in lines
    assert lines[-1] == f"{len(flat)} arrays in {tmp_path / 'ours.npz'}"
    again = pretrained.read(settings.model_spec(config), config.image_size, str(tmp_path / "ours.npz"))
    assert set(again.backbone) == set(flat) and again.report.form == "our names"
    for name in flat:
        np.testing.assert_array_equal(again.backbone[name], flat[name])


def test_the_command_refuses_in_one_line(checkpoint, tmp_path):
    path, _ = checkpoint
    for arguments, said in (
        ((f"--weights={path}", "--config.model.backbone.norm=group"), 'pretrained ResNets have norm="frozen_batch"'),
        ((f"--weights={tmp_path / 'none.npz'}",), "no such weight file"),
    ):
        done = run("convert", *arguments)
        assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        assert said in done.stderr and "Traceback" not in done.stderr and not done.stdout


@pytest.mark.slow
def test_a_run_starts_from_pretrained_weights(checkpoint, tmp_path):
    path, flat = checkpoint
    tiny = ("--mode=train", "--config.matcher=hungarian_jit", "--config.steps=1", "--config.batch_size=4",
            "--config.optim.backbone_multiplier=0.0",
            "--config.model.pixel_decoder.width=16", "--config.model.mask_decoder.width=16",
            "--config.model.mask_decoder.layers=1")  # fmt: skip
    done = run("main", *tiny, f"--config.pretrained.backbone={path}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if "pretrained.txt" in line]
    assert len(printed) == 1 and f"{len(flat)} of the backbone's {len(flat)} parameters" in printed[0]
    assert "stage3_block2/norm1/frozen_var" in (tmp_path / "run" / "pretrained.txt").read_text()

    from dataseg_jax.io.checkpoint import load_checkpoint

    trained = flatten_dict(load_checkpoint(tmp_path / "run").params["backbone"], sep="/")
    assert set(trained) == set(flat)
    for name in flat:
        np.testing.assert_array_equal(trained[name], flat[name], err_msg=name)


def test_a_run_without_the_file_stops_before_the_data(tmp_path):
    done = run("main", f"--config.pretrained.backbone={tmp_path / 'none.npz'}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and "none.npz: no such weight file" in done.stderr and "Traceback" not in done.stderr
    assert not done.stdout and not (tmp_path / "run" / "world").exists()


def test_when_pretrained_weights_are_read(config, checkpoint, tmp_path, capsys):
    """At a fresh start only; `init_from` has the last word."""
    for group in (config.datasets, config.validation):
        for name in group:
            group[name].root = "somewhere"
    config = config.copy_and_resolve_references()
    config.pretrained.backbone, config.init_from = str(checkpoint[0]), "elsewhere"
    assert pretrained.read_for_a_fresh_start(settings.from_config(config, str(tmp_path)), str(tmp_path)) is None
    assert "init_from replaces every weight" in capsys.readouterr().out
    config.init_from = ""
    run = settings.from_config(config, str(tmp_path))
    weights = pretrained.read_for_a_fresh_start(run, str(tmp_path))
    assert set(weights.backbone) == set(checkpoint[1])
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    assert pretrained.read_for_a_fresh_start(run, str(tmp_path)) is None
    config.pretrained.backbone = ""
    cases = ((str(tmp_path), "frozen_batch", ""), ("new", "group", ""), ("new", "frozen_batch", "random"))
    for workdir, config.model.backbone.norm, config.pretrained.backbone in cases:
        assert pretrained.read_for_a_fresh_start(settings.from_config(config, workdir), workdir) is None
    config.pretrained.backbone = ""
    run = settings.from_config(config, "new")
    one_line(lambda: pretrained.read_for_a_fresh_start(run, "new"), 'norm="frozen_batch" without weights', "=random")


def test_weights_land_where_the_parameters_live(checkpoint, config, tmp_path):
    """Sharding and dtype are those of the parameters; every other part of the model is untouched."""
    weights = pretrained.read(settings.model_spec(config), config.image_size, str(checkpoint[0]))
    shapes = jax.eval_shape(build.build_model(config).init, jax.random.key(0), *build.dummy_batch(config))["params"]
    everywhere = sharding.replicated(sharding.make_mesh())
    params = jax.tree.map(lambda leaf: jax.device_put(np.zeros(leaf.shape, leaf.dtype), everywhere), shapes)
    placed = pretrained.place(weights, params, str(tmp_path))
    assert jax.tree.structure(placed) == jax.tree.structure(params)
    same = lambda a, b: a.sharding == b.sharding and a.dtype == b.dtype and a.shape == b.shape  # noqa: E731
    assert jax.tree.all(jax.tree.map(same, placed, params))
    assert placed["mask_decoder"] is params["mask_decoder"]
    for name, array in flatten_dict(placed["backbone"], sep="/").items():
        np.testing.assert_array_equal(array, checkpoint[1][name])


def test_a_hostile_file_ends_the_command_in_one_line(tmp_path):
    """The forged dtype made numpy read at an address of the file's choice: the program ended with SIGSEGV."""
    (tmp_path / "forged.pkl").write_bytes(hostile_pickles.REFUSED["a dtype whose fields are objects"])
    (tmp_path / "script.pt").write_bytes(hostile_zips.REFUSED["TorchScript modules of 2^40 paths"])
    os.mkfifo(tmp_path / "pipe.pth")
    for name, why in (
        ("forged.pkl", "it holds no arrays of use, but a (of no numbers)"),
        ("script.pt", "its modules are too many"),
        ("pipe.pth", "no regular file"),
    ):
        done = run("convert", f"--weights={tmp_path / name}")
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"error: {tmp_path / name}: ") and why in done.stderr
        assert done.stderr.count("\n") == 1 and not done.stdout
