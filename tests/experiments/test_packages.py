"""Without the packages of training, each program of `experiments` says in one line what to install."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["main", "sweep"])
def test_says_what_is_missing(module):
    command = [sys.executable, "-S", "-m", f"experiments.{module}", "--help"]  # -S: no package that is installed.
    ended = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr.count("\n") == 1 and "grain" in ended.stderr and "pip install 'dataseg_jax[train]'" in ended.stderr
    )
