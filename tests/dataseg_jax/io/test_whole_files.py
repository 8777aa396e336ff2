"""A file is whole or as it was, whatever ends the program that writes it."""

import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from dataseg_jax.io import whole_files
from dataseg_jax.io.whole_files import whole_file, write_whole

WRITER = """
import sys
from dataseg_jax.io.whole_files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"new" * 1000)
    file.flush()
    print(flush=True)
    input()
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    return path


def test_content_replaces_what_was_there(path, tmp_path):
    write_whole(path, "n\u00e9w")
    assert path.read_bytes() == "n\u00e9w".encode()
    write_whole(str(path), b"\xff")
    assert path.read_bytes() == b"\xff"
    with whole_file(tmp_path / "arrays.npz") as file:
        np.savez(file, a=np.arange(3))
    assert np.load(tmp_path / "arrays.npz")["a"].tolist() == [0, 1, 2]
    assert sorted(os.listdir(tmp_path)) == ["arrays.npz", "results.json"]


def test_a_kill_in_the_middle_leaves_the_old_file(path, tmp_path):
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "\n"
        assert path.read_text() == "old"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    left = [file for file in os.listdir(tmp_path) if file != path.name]
    assert len(left) == 1 and left[0].startswith(".") and left[0].endswith(whole_files.ENDING)
    assert not set(tmp_path.glob("*.json")) - {path} and not set(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(path, tmp_path, monkeypatch, step):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_an_interrupted_writer_leaves_the_old_file_and_nothing_else(path, tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_content_is_on_the_disk_before_it_has_its_name(path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (done.append(name), real(*given))[1])
    write_whole(path, "new")
    assert done == ["fsync", "replace", "fsync"]  # Of the file, and of the folder.


def test_a_link_is_replaced_and_not_followed(path, tmp_path):
    (tmp_path / "report.html").symlink_to(path)
    write_whole(tmp_path / "report.html", "new")
    assert path.read_text() == "old" and (tmp_path / "report.html").read_text() == "new"
    assert not (tmp_path / "report.html").is_symlink()


def test_a_missing_folder_is_named_by_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "missing" / "a.json", "new")
    assert caught.value.filename == str(tmp_path / "missing" / "a.json")


def test_a_pipe_stays_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        write_whole(tmp_path / "pipe", "new")
        assert reader.communicate()[0] == b"new"
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_the_mode_is_that_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o640


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    write_whole(tmp_path / ("n" * 251 + ".png"), "new")
    assert len(os.listdir(tmp_path)[0]) == 255
