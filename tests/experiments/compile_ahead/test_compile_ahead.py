"""The program: what it says of a program that is compiled for the CPU, and for devices that are not here."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.primitives.attention import attend_in_chunks
from experiments.compile_ahead import __main__ as ahead
from experiments.compile_ahead import report, target
from experiments.compile_ahead.program import Program
from tests.messages import one_line

ROOT = pathlib.Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "experiments.compile_ahead", "--config=configs/vitdet_l.py:tiny,datasets=coco")


@pytest.fixture(scope="module")
def product():
    """(program, compiled) of one matrix product."""
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    function = jax.jit(lambda a, b: a @ b.T)
    made = Program(function, (x, x), 2 * 64 * 64 * 32, 0, 0, images=64, dtype="float32", notes=())
    return made, function.lower(*made.arguments).compile()


def test_a_compiled_program_is_described(product, tmp_path):
    made, compiled = product
    goal = target.parse("h100")
    plain = {"config": "c.py", "mode": "predict"} | report.record(made, goal, compiled.memory_analysis(), 0.1)
    said = ahead.described(plain, made, goal, compiled)
    assert plain["memory_per_device_bytes"] >= 4 * (2 * 64 * 32 + 64 * 64)
    assert said["flops_per_device"]["f32"] == made.flops == 2 * 64 * 64 * 32
    np.testing.assert_allclose(
        said["estimated_mfu"], made.flops / said["estimated_step_seconds"] / goal.device.peak("f32")
    )
    assert said["most_expensive"][0]["source"].startswith("tests/experiments/compile_ahead/test_compile_ahead.py:")
    ahead.write(tmp_path / "out", json.dumps(said), report.markdown(said))
    assert json.loads((tmp_path / "out" / "compile_ahead.json").read_text()) == said
    assert (
        (tmp_path / "out" / "compile_ahead.md").read_text().startswith("# c.py, predict, 64 images on 1 host x 1 h100")
    )
    (tmp_path / "file").write_text("")
    one_line(lambda: ahead.write(tmp_path / "file", "", ""), "--out=", "cannot be written")


def test_a_program_that_xla_cannot_write_keeps_its_memory(product):
    made, compiled = product
    goal = target.parse("v5p:2x2x2")
    plain = {"config": "c.py", "mode": "train"} | report.record(made, goal, compiled.memory_analysis(), 0.1)
    mute = type("Compiled", (), {"as_text": lambda self: "unwritable"})()
    said = ahead.described(plain, made, goal, mute)
    assert said["estimated_step_seconds"] is None and "XLA cannot write this program" in said["notes"][0]
    assert said["memory_per_device_bytes"] == plain["memory_per_device_bytes"]
    assert "XLA cannot write" in report.markdown(said)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target=b1000"], "no device 'b1000'"),
        (["--target=h100", "extra"], "unexpected argument 'extra'"),
    ],
)
def test_bad_input_is_one_line(flags, message):
    done = subprocess.run([*COMMAND, *flags], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "devices", "collectives"),
    [
        (["--target=h100", "--config.batch_size=2"], 1, set()),
        (
            ["--target=h100:8", "--hosts=4", "--config.batch_size=32", "--config.fsdp=8"],
            32,
            {"all-reduce", "all-gather"},
        ),
        (["--target=v5e:2x2", "--config.batch_size=4"], 4, {"all-reduce"}),
        (["--target=a100:2", "--config.batch_size=2", "--mode=predict"], 2, set()),
    ],
    ids=["one_gpu", "hosts_of_gpus", "tpu_slice", "predict"],
)
def test_devices_that_are_not_here(flags, devices, collectives, tmp_path):
    goal = target.parse(flags[0].removeprefix("--target="))
    if not any(importlib.util.find_spec(name) for name in target.PLUGINS[goal.platform]):
        pytest.skip(f"the compiler for {goal.platform} is not installed (the extra ahead-{goal.platform})")
    small = ["--config.model.mask_decoder.layers=1", "--config.model.mask_decoder.memory_levels=1"]
    command = [*COMMAND, *flags, *small, f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert json.loads((tmp_path / "compile_ahead.json").read_text()) == said
    assert said["devices"] == devices and collectives <= set(said["collectives"])
    memory = said["memory"]
    assert memory["parameters"] + memory["optimiser"] <= memory["arguments"] < said["memory_per_device_bytes"]
    assert 0 < said["estimated_mfu"] < 1 and said["estimated_step_seconds"] > 0
    # A device does its share of the model's products, and what the compiler recomputes.
    share = said["model_flops_per_step"] / devices
    products = sum(count for kind, count in said["flops_per_device"].items() if kind != "vector")
    assert 0.7 * share < products < 2.5 * share
    assert any(row["source"].startswith("dataseg_jax/") for row in said["most_expensive"])


@pytest.mark.parametrize(
    ("name", "dtype", "kernels"), [("h100", "bfloat16", 2), ("h100", "float32", 0), ("v5p:2x2x2", "bfloat16", 0)]
)
def test_attention_is_that_of_the_target(name, dtype, kernels):
    """A head of 64 channels and a grid of 4 x 4: by cuDNN, forwards and backwards, though no card is here."""
    goal = target.parse(name)
    part = jax.ShapeDtypeStruct((2, 16, 2, 64), dtype)
    relative = jax.ShapeDtypeStruct((2, 16, 2, 4), np.float32)
    gradient = jax.grad(lambda q, k, v, a, b: attend_in_chunks(q, k, v, (a, b)).astype(jnp.float32).sum(), range(5))
    with target.kernels_of(goal):
        traced = jax.jit(gradient).trace(part, part, part, relative, relative)
    program = traced.lower(lowering_platforms=(goal.platform,)).as_text()
    assert program.count("__cudnn$fmhaSoftmax") == kernels
