"""The files of an export belong together, whenever the program that writes them is killed."""

import json
import os

import numpy as np
import pytest

from dataseg_jax.commands.export import ARRAYS, PROGRAM, write


def artifact(number):
    return {PROGRAM: bytes([number]) * 9, ARRAYS: (np.full(3, number), np.arange(2))}, {"number": number}


def read(out):
    """The numbers that the files were made with; None where there is no record, and so no export."""
    if not (out / "artifact.json").exists():
        return None
    stored = np.load(out / "arrays.npz")
    program = (out / "predictor.stablehlo").read_bytes()
    return program[0], int(stored["00000"][0]), json.loads((out / "artifact.json").read_text())["number"]


def test_files_replace_those_of_an_earlier_export(tmp_path):
    for number in (1, 2):
        write(tmp_path, *artifact(number))
        assert read(tmp_path) == (number,) * 3
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("stop", range(6))
def test_a_killed_export_is_the_earlier_one_or_none(tmp_path, monkeypatch, call, stop):
    write(tmp_path, *artifact(1))
    real, calls = getattr(os, call), []

    def killed(*arguments):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(os, call, killed)
    try:
        write(tmp_path, *artifact(2))
        assert call == "replace" and stop >= 3
    except KeyboardInterrupt:
        pass
    assert read(tmp_path) in (None, (1,) * 3, (2,) * 3)
    monkeypatch.undo()
    write(tmp_path, *artifact(3))
    assert read(tmp_path) == (3,) * 3
