"""One training run in a workdir: the second is refused while the first lives, and not a moment longer."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from experiments.runtime import hosts, lock
from tests.messages import one_line

HOLDER = """
import sys
from experiments.runtime import hosts, lock
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


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_lies_in_place_of_the_lock_is_not_emptied(tmp_path, link):
    """The real program, in a workdir that somebody else has prepared."""
    precious, run = tmp_path / "precious.txt", tmp_path / "run"
    precious.write_text("precious")
    run.mkdir()
    link(precious, run / ".train.lock")
    command = [sys.executable, "-m", "experiments.main", "--config=configs/quickstart.py:smoke", f"--workdir={run}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and precious.read_text() == "precious"
    errors = done.stderr.splitlines()
    assert len(errors) == 1 and errors[0].startswith(f"error: {run}/.train.lock: "), done.stderr
    assert os.listdir(run) == [".train.lock"]


def test_the_line_of_another_holder_is_one_line(holder, tmp_path):
    (tmp_path / ".train.lock").write_bytes(b"process \xff\n\x1b[31m of a stranger\n")
    one_line(lambda: held(tmp_path, "train"), "process \ufffd \ufffd[31m of a stranger)")


def test_the_mark_of_a_shared_folder_follows_no_link(tmp_path):
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".seen_by_all_hosts").symlink_to(tmp_path / "precious.txt")
    hosts.require_shared(str(tmp_path / "run"))
    assert (tmp_path / "precious.txt").read_text() == "precious" and not os.listdir(tmp_path / "run")
