"""Tables, means and plot of a sweep, from folders written by the test."""

import csv
import html
import json
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from experiments.sweep import seeds, summary
from experiments.sweep.results import read_results


def variant(out, index, name, overrides, scores=None, log="", seconds=0.0):
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "variant.json").write_text(json.dumps({"index": index, "overrides": overrides, "config": {"steps": 9}}))
    if scores:
        (folder / "results.json").write_text(json.dumps({"step": 9, "scores": scores}))
    if seconds:
        notes = [{"began": 1000.0, "gpus": "", "quiet_since": 0.0}, {"ended": 1000.0 + seconds, "status": 0}]
        (folder / "attempts.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    if log:
        (folder / "log.txt").write_text(log)


def scores(pq, ap):
    return {"coco": {"pq": pq, "sq": 0.9, "per_class": {"cat": pq}}, "things": {"mask_ap": ap, "box_ap": 0.1}}


@pytest.fixture
def out(tmp_path):
    # In the order of the sweep, not of the names.
    variant(tmp_path, 2, "a0", {"matcher": "a", "seed": 0}, scores(0.25, 0.5), seconds=3700.0)
    variant(tmp_path, 3, "a1", {"matcher": "a", "seed": 1}, scores(0.75, 0.5), seconds=10.0)
    variant(tmp_path, 0, "b0", {"matcher": "b", "seed": 0}, scores(0.5, 0.125))
    variant(tmp_path, 1, "b1", {"matcher": "b", "seed": 1}, log="step 3\nerror: a | bar\n\n", seconds=61.0)
    variant(tmp_path, 4, "c", {"optim.clip": 1.0, "seed": 0})
    (tmp_path / "world").mkdir()  # Other folders are ignored.
    return tmp_path


def test_read_results(out):
    results = read_results(out)
    assert [r.name for r in results] == ["b0", "b1", "a0", "a1", "c"]
    assert [r.state for r in results] == ["finished", "stopped", "finished", "finished", "waiting"]
    assert results[1].note == "error: a | bar" and results[1].seconds == 61.0
    assert results[2].headlines == {("coco", "pq"): 0.25, ("things", "mask_ap"): 0.5}


def test_seconds_add_up_over_attempts_and_kills(out):
    folder = out / "b1"
    notes = [
        {"began": 100.0, "quiet_since": 0.0},
        {"began": 500.0, "quiet_since": 130.0},
        {"ended": 550.0, "status": 0},
    ]
    (folder / "attempts.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes) + '{"began": 9')
    assert read_results(out)[1].seconds == 30.0 + 50.0


def test_mean_and_standard_deviation(out):
    cells = seeds.over_seeds(summary.headline_scores(read_results(out)))
    assert list(cells.index) == [
        (row, column) for row in ("matcher=b", "matcher=a") for column in ("coco PQ", "things mask AP")
    ]
    alone = cells.loc[("matcher=b", "coco PQ")]
    assert (alone["mean"], alone["count"]) == (50.0, 1) and np.isnan(alone["std"])
    assert tuple(cells.loc[("matcher=a", "coco PQ")]) == pytest.approx((50.0, statistics.stdev([25.0, 75.0]), 2))
    assert tuple(cells.loc[("matcher=a", "things mask AP")]) == (50.0, 0.0, 2)


def test_a_field_may_be_named_as_a_column_and_hold_any_value(tmp_path):
    for seed in (0, 1):
        overrides = {"steps": [1, 2], "optim": None, "seed": seed}
        variant(tmp_path, seed, f"v{seed}", overrides, scores(0.5, float("nan")))
    lines = summary.markdown(read_results(tmp_path)).splitlines()
    assert lines[2] == "| v0 | [1, 2] | None | 0 | 50.0 |  | 9 |  | finished |"
    assert lines[5:8] == [
        "| steps | optim | seeds | coco PQ | things mask AP |", "|---|---|---|---|---|",
        "| [1, 2] | None | 2 | 50.0 ± 0.0 |  |",
    ]  # fmt: skip


def test_markdown(out):
    lines = summary.markdown(read_results(out)).splitlines()
    assert lines[0] == "| variant | matcher | seed | optim.clip | coco PQ | things mask AP | steps | time | state |"
    assert lines[2] == "| b0 | b | 0 |  | 50.0 | 12.5 | 9 |  | finished |"
    assert lines[3] == "| b1 | b | 1 |  |  |  | 9 | 1:01 | stopped: error: a \\| bar |"
    assert lines[4] == "| a0 | a | 0 |  | 25.0 | 50.0 | 9 | 1:01:40 | finished |"
    assert lines[8:12] == [
        "| matcher | seeds | coco PQ | things mask AP |",
        "|---|---|---|---|",
        "| b | 1 | 50.0 | 12.5 |",
        "| a | 2 | 50.0 ± 35.4 | 50.0 ± 0.0 |",
    ]


def test_csv_has_every_number(out):
    rows = list(csv.DictReader(summary.csv_text(read_results(out)).splitlines()))
    assert [row["variant"] for row in rows] == ["b0", "b1", "a0", "a1", "c"]
    assert rows[2]["config.matcher"] == "a" and float(rows[2]["coco/sq"]) == 0.9 and rows[2]["seconds"] == "3700.0"
    assert "coco/per_class" not in rows[0] and rows[1]["coco/pq"] == "" and rows[4]["config.optim.clip"] == "1.0"


def test_plot(out, tmp_path):
    path = tmp_path / "sweep.png"
    assert summary.plot(read_results(out), path)
    image = np.asarray(Image.open(path).convert("RGB"))
    assert image.shape[0] > 200 and image.shape[1] > 600 and len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    assert not summary.plot([r for r in read_results(out) if r.state != "finished"], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_names_of_others_are_text_in_the_table_and_the_plot(tmp_path):
    """The real program, on a sweep whose every name is made to break a page or a plot."""
    evil = "<script>alert(1)</script>|`x` $\\frac{$ *y*\n| z |"
    for seed in (0, 1):
        overrides = {"model.name": evil, evil: 1, "seed": seed}
        variant(tmp_path, seed, f"v{seed}", overrides, {evil: {"pq": 0.5}} if seed else None, log=f"{evil}\x1b[31m\n")
    (tmp_path / "v0" / "attempts.jsonl").write_text('{"began": 1.0, "gpus": "", "quiet_since": 0.0}\n')
    line = [sys.executable, "-m", "experiments.sweep", "--gather", f"--out={tmp_path}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "\x1b" not in done.stderr, done.stderr
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render((tmp_path / "sweep.md").read_text())
    assert set(re.findall(r"<([a-z0-9]+)", rendered)) == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", rendered, re.DOTALL)]
    assert len(rows) == 3 and {len(row) for row in rows} == {8}
    assert html.unescape(rows[1][1]) == html.unescape(rows[0][2]) == " ".join(evil.split("\n"))
    assert (tmp_path / "sweep.png").stat().st_size > 1000
