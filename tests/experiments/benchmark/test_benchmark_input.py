"""The input benchmark on a tiny dataset: it runs, with and without its reference, and its numbers add up."""

import json
import sys
import types

import numpy as np
import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark.input import reference
from tests.data.conftest import Writer, noise


@pytest.fixture
def coco(tmp_path):
    ids = np.zeros((12, 16), np.int64)
    ids[6:], ids[1:5, 2:7] = 70000, 300
    segments = [{"id": 70000, "category_id": 200}, {"id": 300, "category_id": 1}]
    Writer(tmp_path / "coco").panoptic({i: (noise(i), ids, segments) for i in range(3)})
    return tmp_path / "coco"


def run(coco, out, *more):
    flags = ["--part=input", f"--coco={coco}", f"--out={out}", "--side=32", "--rounds=1", *more]
    assert benchmark.main(flags) == 0
    return {row["what"]: row for row in json.loads((out / "input.json").read_text())["rows"]}


def test_without_the_reference_it_says_so_and_prints_our_numbers(coco, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    rows = run(coco, tmp_path, "--examples=0", "--profile")
    captured = capsys.readouterr()
    assert "so the reference was not run" in captured.err and "augment" in captured.err
    whole, decoded = rows["decoding, jitter, targets"], rows["the same of decoded images"]
    assert whole["beside"] == "not run" and whole["ratio"] is None
    stages = [row["value"] for what, row in rows.items() if what.startswith("of the whole: ")]
    assert len(stages) == 5 and sum(stages) == pytest.approx(1000 / whole["value"])
    assert sum(stages[2:]) == pytest.approx(1000 / decoded["value"])
    # Image 3 x 32 x 32, map 32 x 32, 100 slots of (label, box, valid), size 2, task, image id.
    size = 4 * 32 * 32 + 100 * (4 + 16 + 1) + 8 + 4 + 4
    assert rows["to the device, per image"]["value"] == pytest.approx(size / 2**20)
    assert "decoding, jitter, targets" in captured.out


def test_beside_a_reference_the_ratio_is_of_the_same_run(coco, tmp_path, monkeypatch):
    seen = []

    def slow(image, segments, categories):
        seen.append((image.shape, np.unique(segments).tolist(), categories))
        total = 0
        for i in range(200_000):
            total += i
        return total

    monkeypatch.setattr(reference, "processor", lambda side: slow)
    monkeypatch.setattr(reference, "name", lambda: "slow")
    monkeypatch.setattr(reference, "size", lambda features: 2**20)
    rows = run(coco, tmp_path, "--examples=0", "--images=2")
    assert seen == [((12, 16, 3), [0, 1, 2], {0: 0, 1: 1, 2: 200})] * 2
    decoded = rows["the same of decoded images"]
    theirs = float(decoded["beside"].removeprefix("slow: "))
    assert decoded["ratio"] == pytest.approx(decoded["value"] / theirs, rel=0.01)
    assert rows["to the device, per image"]["beside"] == "1 MiB"


def test_bytes_of_the_reference():
    def array(count, size):
        return types.SimpleNamespace(numel=lambda: count, element_size=lambda: size)

    features = {"pixel_values": array(10, 4), "pixel_mask": array(5, 8), "mask_labels": [array(3, 4)] * 2}
    assert reference.size(features | {"class_labels": [array(2, 8)]}) == 40 + 40 + 24 + 16


@pytest.mark.slow
def test_memory_is_watched_in_a_process_of_its_own(coco, tmp_path):
    rows = run(coco, tmp_path, "--examples=60")
    (peak,) = (row["value"] for what, row in rows.items() if what.startswith("peak memory"))
    (resident,) = (row["value"] for what, row in rows.items() if what.startswith("resident memory"))
    assert 0 < resident <= peak


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert benchmark.main(["--part=input", f"--coco={tmp_path / 'none'}"]) == 1
    assert "error: coco: annotation file" in capsys.readouterr().err
