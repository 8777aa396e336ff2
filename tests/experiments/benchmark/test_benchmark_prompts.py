"""The benchmark of prompts, tiny: both sides answer alike, and its numbers are what they say."""

import json
import sys

import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark.prompts import peak, reference


@pytest.mark.slow
def test_both_sides_answer_alike(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    flags = ["--part=prompts", "--small", "--turns=1", "--points_per_side=4", f"--out={tmp_path}"]
    assert benchmark.main(flags) == 0
    rows = {row["what"]: row for row in json.loads((tmp_path / "prompts.json").read_text())["rows"]}
    (error,) = (row["value"] for what, row in rows.items() if what.startswith("largest difference"))
    assert error < 1e-4
    (found,) = (what for what in rows if what.startswith("automatic masks: 48 candidates"))
    left = int(found.split()[-2])
    assert 0 < left < 48 and rows[found]["beside"].endswith(f"{left} left")
    for what in ("embedding of an image", "answer to a point", "automatic masks"):
        least, median = rows[f"{what}, least"], rows[f"{what}, median"]
        assert least["value"] == median["value"] > 0  # Of one turn.
        theirs = float(least["beside"].split()[-2])
        assert least["ratio"] == pytest.approx(theirs / least["value"], rel=0.01)


def test_the_peak_of_memory_is_that_of_what_ran():
    if peak.peak_mib(lambda: None) is None:
        pytest.skip("the system does not tell")
    assert 60 < peak.peak_mib(lambda: np.ones((64, 2**20), np.uint8).sum()) < 200
    assert peak.peak_mib(lambda: None) < 30


def test_the_reference_s_run_lengths_and_suppression():
    torch = pytest.importorskip("torch")
    masks = np.random.default_rng(0).uniform(size=(3, 5, 7)) < 0.5
    masks[2] = False
    for mask in masks:
        lengths = reference._run_lengths(torch.from_numpy(mask))
        np.testing.assert_array_equal(reference._decoded(lengths, mask.shape), mask)
    rows, columns = np.nonzero(masks[0])
    boxes = reference._boxes(torch.from_numpy(masks)).tolist()
    assert boxes[0] == [columns.min(), rows.min(), columns.max(), rows.max()] and boxes[2] == [0, 0, 0, 0]
    overlapping = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    assert reference._nms(overlapping, np.array([0.5, 0.9, 0.7]), 0.7) == [1, 2]


def test_bad_flags_and_no_torch(monkeypatch, capsys):
    assert benchmark.main(["--part=prompts", "--turns=0"]) == 1
    monkeypatch.setitem(sys.modules, "torch", None)
    assert benchmark.main(["--part=prompts"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert "--turns=0: it must be at least 1" in errors[0] and "torch or transformers is not installed" in errors[1]
