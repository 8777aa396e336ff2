"""A sweep of real runs: killed, started again, summed up."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from experiments.sweep.attempt import running
from experiments.sweep.results import read_results
from tests.experiments.sweep.sweep_stub import ROOT, wait_for

CONFIG = """
from configs import quickstart, sweeping

def get_config():
    c = quickstart.get_config("smoke")
    c.update(steps=300, batch_size=4)
    c.model.mask_decoder.update(layers=1, width=16)
    c.model.backbone.width = 8
    c.model.pixel_decoder.width = 16
    c.log.update(every=1, checkpoint_every=20)
    c.world.counts = dict(panoptic=64, semantic=32, boxes=32, val=16)
    return c

def sweep():
    yield from sweeping.grid({"matcher": ("hungarian_jit",), "seed": (0, 1)})
"""
NAMES = ["matcher=hungarian_jit_seed=0", "matcher=hungarian_jit_seed=1"]


@pytest.fixture
def out(tmp_path):
    """The folder of a sweep; nothing that works in it is left behind."""
    yield tmp_path / "out"
    for pid in _pids(f"={tmp_path / 'out'}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_sweep_of_real_runs_is_finished_by_the_same_command(out, tmp_path):
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    flags = [f"--config={config}", f"--out={out}", f"--config.world.root={tmp_path / 'world'}", "--config.steps=60"]
    command = [sys.executable, "-m", "experiments.sweep", *flags]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for((out / NAMES[0] / "checkpoints" / "20").exists, 500)
    first.kill()
    first.wait()
    # Not the sweep alone: the run too, as when a machine goes down.
    (pid,) = _pids(f"--workdir={out / NAMES[0]}")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not running(out / NAMES[0]))
    assert [result.state for result in read_results(out)] == ["stopped", "waiting"]

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert again.returncode == 0, again.stderr
    assert "continuing from step" in (out / NAMES[0] / "log.txt").read_text()
    results = read_results(out)
    assert [result.name for result in results] == NAMES
    for result in results:
        assert result.state == "finished" and result.seconds > 1
        scores = json.loads((out / result.name / "results.json").read_text())["scores"]
        assert result.headlines == {
            ("panoptic", "pq"): scores["panoptic"]["pq"],
            ("semantic", "miou"): scores["semantic"]["miou"],
            ("boxes", "mask_ap"): scores["boxes"]["mask_ap"],
            **{(name, "pq"): scores[name]["pq"] for name in ("trained_words", "synonyms", "unrelated")},
        }
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    assert [row["config.seed"] for row in rows] == ["0", "1"] and all(row["steps"] == "60" for row in rows)
    with Image.open(out / "sweep.png") as image:
        assert image.size[0] > 600
    before = [(out / name / "log.txt").read_text() for name in NAMES]

    third = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert third.returncode == 0 and third.stdout.startswith(f"{NAMES[0]}: finished already\n")
    assert [(out / name / "log.txt").read_text() for name in NAMES] == before


def _pids(argument):
    """Processes of this repository with this argument."""
    found = subprocess.run(["ps", "-wweo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if argument in line and "-m experiments." in line]
