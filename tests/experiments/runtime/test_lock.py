"""One training run in a workdir: the second is refused while the first lives, and not a moment longer."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from experiments.runtime import lock
from tests.messages import one_line

HOLDER = """
import sys
from experiments.runtime import lock
with lock.hold(*sys.argv[1:]):
    print('held', flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "train"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def held(*arguments):
    """Takes the lock and gives it back."""
    with lock.hold(*arguments):
        pass


def test_second_run_is_refused_and_evaluation_is_not(holder, tmp_path):
    one_line(lambda: held(tmp_path, "train"), str(tmp_path), f"process {holder.pid}", "a run is training here")
    with lock.hold(tmp_path, "eval"):
        one_line(lambda: held(tmp_path, "eval"), "an evaluation is under way")
    held(tmp_path, "eval")


def test_a_killed_run_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.hold(tmp_path, "train"):
        assert (tmp_path / ".train.lock").read_text().startswith(f"process {os.getpid()} on ")


def test_processes_that_a_run_starts_do_not_hold_its_lock(tmp_path):
    with lock.hold(tmp_path, "train"):
        child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True); input()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert child.stdout.readline() == "up\n"
    held(tmp_path, "train")
    child.communicate("\n")


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    held(tmp_path, "train")
    assert "no locks (No locks available)" in capsys.readouterr().out
