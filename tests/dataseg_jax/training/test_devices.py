"""The whole step on 1, 2 and 8 devices, on a mesh of 4 x 2, and in parts: the same numbers; what crosses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dataseg_jax

pytestmark = pytest.mark.slow

# name -> images a callback sees; of 16 with N = 7, G = 5 and predictions of 3 layers.
OTHERS = {"2": 8, "8": 2, "4x2": 2, "1 in 4 parts": 4, "4x2 in 2 parts": 1}
COLLECTIVE = re.compile(r" = (.*?) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(-start)?\((.*)")
COST = re.compile(r"\[(?:\d+,)*7,5\]")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    root = Path(dataseg_jax.__path__[0]).parent
    command = [sys.executable, str(Path(__file__).with_name("step_on_devices.py")), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(root)}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


def values(out, name, kind):
    with np.load(out / f"{name}.npz") as file:
        return {key.split(":")[-1]: file[key] for key in file if key.split(":")[0] == kind}


def assert_close(got, expected):
    """To 1e-5 of each tensor's largest entry. A softmax does not feel its keys' bias: rounding alone moves that."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        if re.search(r"/(k|qkv)/bias$", name) and scale < 1e-6:
            assert np.abs(got[name]).max() < 1e-6, name
        else:
            np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_numbers(out, name):
    """Losses of three plain SGD steps, the first gradient, the parameters after the third, and what it reported."""
    for kind in ("loss", "gradient", "params", "metrics"):
        assert_close(values(out, name, kind), values(out, "1", kind))


def test_the_case_is_not_trivial(out):
    (loss,) = values(out, "1", "loss").values()
    assert loss[2] < loss[0] - 0.1
    metrics = values(out, "1", "metrics")
    assert metrics[".diagnostics/.slots"].sum() < 16 * 7 and metrics[".skipped"] == 0
    assert sum(np.abs(g).max() > 1e-4 for g in values(out, "1", "gradient").values()) > 80


def collectives(hlo):
    """(operation, shapes it yields, operands with their shapes) of every collective."""
    shape_of = dict(re.findall(r"(%[\w.-]+) = (\(.*?\)|\S+) ", hlo))
    for line in hlo.splitlines():
        if found := COLLECTIVE.search(line):
            result, name, _, operands = found.groups()
            yield name, result + " ".join(shape_of.get(o, "") for o in re.findall(r"%[\w.-]+", operands))


@pytest.mark.parametrize("name", OTHERS)
def test_one_callback_and_no_collective_of_costs(out, name):
    """Every shard's callback sees its own images; nothing shaped like a cost crosses between devices."""
    hlo = (out / f"{name}.hlo").read_text()
    callbacks = [line for line in hlo.splitlines() if re.search(r"custom_call_target=\"\w*callback", line)]
    assert len(callbacks) == 1
    assert f"f32[{OTHERS[name]},3,7,5]" in callbacks[0]
    crossing = list(collectives(hlo))
    assert bool(crossing) != name.startswith("1")
    assert not [c for c in crossing if COST.search(c[1])]
    if "x" in name:
        assert any(kind == "all-gather" for kind, _ in crossing)  # Of parameters.


def test_the_look_at_the_program_sees_what_it_looks_for(out):
    hlo = (out / "gathered.hlo").read_text()
    assert [c for c in collectives(hlo) if COST.search(c[1])]


def test_bytes_fall_with_fsdp(out):
    """A device holds its share of what is split, and all of what is not: biases, norms, queries, indivisible axes."""
    held = np.load(out / "bytes.npy").astype(float)  # [fsdp 1 2 4 8, parameters and optimiser]
    parts = np.array([1, 2, 4, 8])[:, None]
    whole = (2 * held[1] - held[0]).clip(0)  # held = whole + split / parts, solved from the first two rows.
    assert (whole < 0.1 * held[0]).all()
    np.testing.assert_allclose(held, whole + (held[0] - whole) / parts, rtol=0.1)
    np.testing.assert_allclose(held[:, 1], 2 * held[:, 0], rtol=0.01)  # Adam's two moments follow their parameter.
