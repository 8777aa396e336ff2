"""A lock is a file of its own: what lies in its place is neither followed, emptied nor waited for."""

import os
import subprocess
import sys

import pytest
from filelock import Timeout

from dataseg_jax.io.lock_files import take_lock
from tests.messages import one_line

HOLDER = "import sys; from dataseg_jax.io.lock_files import take_lock; x = take_lock(sys.argv[1]); print(); input()"


def test_one_process_has_it_and_its_content_stays(tmp_path):
    path = tmp_path / "lock"
    path.write_text("what is in it")
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "\n"
        with pytest.raises(Timeout):
            take_lock(path)
        holder.communicate("\n")
    given = []
    take_lock(path, on_acquired=given.append).release()
    assert given and path.read_text() == "what is in it"


@pytest.mark.parametrize("target", ["there", "missing"])
def test_a_link_is_refused_and_not_followed(tmp_path, target):
    (tmp_path / "there").write_text("precious")
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / target)
    one_line(lambda: take_lock(path), str(path), "is a symbolic link", "remove it")
    assert (tmp_path / "there").read_text() == "precious" and not (tmp_path / "missing").exists()


def test_a_link_that_is_put_there_later_is_not_followed_either(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / "precious")
    monkeypatch.setattr("dataseg_jax.io.lock_files._require_file", lambda path: None)
    one_line(lambda: take_lock(path), str(path), "is a symbolic link")
    assert not (tmp_path / "precious").exists()


@pytest.mark.parametrize(("make", "what"), [(os.mkdir, "a folder"), (os.mkfifo, "a pipe")])
def test_what_is_no_file_is_refused(tmp_path, make, what):
    make(tmp_path / "lock")
    one_line(lambda: take_lock(tmp_path / "lock"), str(tmp_path / "lock"), f"is {what}")
