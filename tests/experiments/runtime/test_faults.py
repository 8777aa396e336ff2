"""The real program under the faults that long runs meet; each run then goes on and equals one that met none.

Kills at random moments are in `tests/kills`.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from experiments.runtime import lock
from tests.starting import with_sigint

CONFIG = "--config=tests/experiments/small_run.py"


def command(workdir, world, *more):
    main = [sys.executable, "-m", "experiments.main", CONFIG, f"--workdir={workdir}"]
    return [*main, *([f"--config.world.root={world}"] if world else []), *map(str, more)]


def run(workdir, world, *more):
    return subprocess.run(command(workdir, world, *more), capture_output=True, text=True, timeout=900)


def start(workdir, world, *more):
    return subprocess.Popen(command(workdir, world, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a run that nothing happened to."""
    workdir = tmp_path_factory.mktemp("whole")
    done = run(workdir, None)
    assert done.returncode == 0, done.stderr
    assert "best panoptic/pq so far" in done.stdout
    return workdir


@pytest.fixture
def until(whole, tmp_path):
    """`until(step)`: a copy of the whole run's workdir as it was when the checkpoint of `step` had been saved."""

    def copy(step):
        workdir = tmp_path / "run"
        shutil.copytree(whole, workdir, ignore=shutil.ignore_patterns("world", "results*", "overlays"))
        for checkpoint in [*(workdir / "checkpoints").iterdir(), *(workdir / "best").iterdir()]:
            if int(checkpoint.name) > step:
                shutil.rmtree(checkpoint)
        return workdir

    return copy


def outcome(workdir):
    """What must not depend on faults: every loss and score to the last digit, and every parameter to the last bit."""
    from dataseg_jax.io.checkpoint import load_checkpoint

    loaded = load_checkpoint(workdir)
    best = [json.loads(path.read_text()) for path in (workdir / "best").glob("*/best.json")]
    files = [(workdir / name).read_text() for name in ("losses.csv", "scores.jsonl", "results.json")]
    return {"step": loaded.step, "params": loaded.params, "best": best, "files": files}


def assert_equal(workdir, whole):
    np.testing.assert_equal(outcome(workdir), outcome(whole))


def assert_one_line(done, status, *named):
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    for name in named:
        assert name in lines[0]


def drawing(workdir):
    return any(workdir.glob(".world.*.partial"))


def saving(workdir):
    return any(workdir.glob("checkpoints/*tmp*"))


def evaluating(workdir):
    scores = workdir / "scores.jsonl"
    return (workdir / "checkpoints" / "10").exists() and (not scores.exists() or not scores.read_text())


@pytest.mark.slow
def test_killed_while_it_draws_saves_and_evaluates(whole, tmp_path):
    for moment in (drawing, saving, evaluating):
        process = start(tmp_path, None)
        deadline = time.monotonic() + 600
        while not moment(tmp_path):
            assert process.poll() is None and time.monotonic() < deadline, moment
            time.sleep(0.002)
        process.kill()
        process.communicate()
    done = run(tmp_path, None)
    assert done.returncode == 0, done.stderr
    assert not saving(tmp_path)
    assert_equal(tmp_path, whole)


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(whole, until):
    workdir = until(0)
    process = start(workdir, whole / "world", "--config.input.workers=1")
    assert any(line.startswith("first step") for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 143 and "Traceback" not in errors
    seconds = time.monotonic() - sent
    saved = re.fullmatch(r"SIGTERM: saved step (\d+), where the same command continues", out.splitlines()[-1])
    step = int(saved[1])
    assert str(step) in os.listdir(workdir / "checkpoints")
    done = run(workdir, whole / "world")
    assert done.returncode == 0 and f"continuing from step {step}" in done.stdout
    assert_equal(workdir, whole)
    assert seconds < 60  # A few on an idle machine.


@pytest.mark.slow
@pytest.mark.parametrize("inherited", ["ignored", "blocked"])
def test_sigint_saves_whatever_the_run_was_started_by(whole, until, inherited):
    """`kill -INT` of a run that a script started in the background, or that a sweep did."""
    workdir = until(0)
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(with_sigint(inherited, command(workdir, whole / "world")), **pipes)
    try:
        assert any(line.startswith("first step") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors
    saved = re.fullmatch(r"SIGINT: saved step (\d+), where the same command continues", out.splitlines()[-1])
    assert saved and saved[1] in os.listdir(workdir / "checkpoints")


@pytest.mark.slow
def test_a_second_run_is_refused_and_an_evaluation_is_not(whole, until):
    workdir = until(20)
    with lock.hold(workdir, "train"):
        assert_one_line(run(workdir, whole / "world"), 2, f"process {os.getpid()}", "a run is training here already")
        done = run(workdir, whole / "world", "--mode=eval")
        assert done.returncode == 0, done.stderr
    scores = [json.loads((folder / "results.json").read_text()) for folder in (workdir, whole)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_without_room_it_trains_on_and_ends_with_one_line(whole, until):
    workdir = until(10)
    before = {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*") if path.is_file()}

    process = start(workdir, whole / "world", "--mode=train")
    # The largest file of a checkpoint does not fit; logs do. Needs no privileges, unlike a small disk.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (50_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    out, errors = process.communicate(timeout=900)
    done = subprocess.CompletedProcess([], process.returncode, out, errors)
    assert_one_line(done, 2, "step 20 could not be saved", str(workdir), "GB free", "continues from step 10")
    printed = [line for line in done.stdout.splitlines() if "could not be saved" in line]
    assert len(printed) == 2 and "step 15" in printed[0] and "newest one is that of step 10" in printed[0]
    assert {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*") if path.is_file()} == before
    assert (workdir / "losses.csv").read_text() == (whole / "losses.csv").read_text()


@pytest.mark.slow
def test_not_finite_stops_with_culprits_and_good_checkpoints(whole, until):
    workdir = until(5)
    flags = "--mode=train", "--config.optim.learning_rate=1e30", "--config.optim.warmup_steps=0"
    done = run(workdir, whole / "world", *flags, "--config.log.max_skipped=4", "--config.log.checkpoint_every=1")
    named = "4 steps in a row were not finite", "image ids [", "the last checkpoint is that of step"
    assert_one_line(done, 2, *named)
    assert any(name in done.stderr for name in ("panoptic", "semantic", "boxes"))
    steps = sorted(map(int, os.listdir(workdir / "checkpoints")))
    # Amid the skipped steps nothing was saved that would crowd out what was good.
    assert steps[0] == 5 and steps[-1] <= int(done.stderr.split("the last one, ")[1].split(",")[0]) - 4
    np.testing.assert_equal(parameters(workdir, 5), parameters(whole, 5))


def parameters(workdir, step):
    from dataseg_jax.io.checkpoint import load_checkpoint

    return load_checkpoint(workdir / "checkpoints" / str(step)).params


@pytest.mark.slow
def test_a_damaged_newest_checkpoint(whole, until):
    workdir = until(15)
    largest = max((workdir / "checkpoints" / "15" / "state").rglob("d/*"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    done = run(workdir, whole / "world")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.count("checkpoint of step 15 cannot be read") == 1 and "continuing from step 10" in done.stdout
    assert (workdir / "damaged_checkpoint_15").exists()
    assert_equal(workdir, whole)
