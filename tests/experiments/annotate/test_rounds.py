"""Rounds of training and annotating: what each trains on, and what is left to do after a failure or a kill."""

import json
import pathlib
import sys

import pytest

from experiments.annotate import rounds
from experiments.build import open_dataset
from experiments.sweep.variants import resolve

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SMOKE = "--config=configs/quickstart.py:smoke"
# In place of experiments.main: scores, and the checkpoint of another run where there is one.
PROGRAM = """
import json, shutil, sys
from pathlib import Path

flags = dict(flag[2:].split("=", 1) for flag in sys.argv[1:])
workdir = Path(flags["workdir"])
with (workdir / "starts.txt").open("a") as file:
    file.write("x")
if (workdir.parent / f"fail_{workdir.name}").exists():
    sys.exit("error: fails on purpose")
model = Path(__file__).with_name("model")
if model.exists():
    shutil.copytree(model / "checkpoints", workdir / "checkpoints", dirs_exist_ok=True)
score = 0.25 * int(workdir.name.removeprefix("round_"))
steps = json.loads((workdir / "variant.json").read_text())["config"]["steps"]
(workdir / "results.json").write_text(json.dumps({"step": steps, "scores": {"panoptic": {"pq": score}}}))
"""


def run(tmp_path, *flags):
    """Runs the program here, with a stub for training; its exit status."""
    stub = tmp_path / "program.py"
    stub.write_text(PROGRAM)
    try:
        return rounds.main([SMOKE, f"--out={tmp_path / 'out'}", f"--program={sys.executable} {stub}", *flags])
    except SystemExit as end:
        return end.code


def arguments(tmp_path, number):
    """The whole config of a round."""
    return json.loads((tmp_path / "out" / f"round_{number}" / "variant.json").read_text())["config"]


@pytest.fixture
def commands(monkeypatch):
    """The commands of experiments.annotate that are not run."""
    seen = []

    def status(command):
        seen.append(command)
        out = pathlib.Path(command[-1].removeprefix("--out="))
        out.mkdir(parents=True, exist_ok=True)
        counts = {"images": 8, "masks": 20 + len(seen)}
        (out / "counts.json").write_text(json.dumps({"counts": counts, "audit": {"above_75": 0.5}}))
        return 0

    monkeypatch.setattr(rounds, "_status", status)
    return seen


def test_each_round_trains_on_the_masks_of_the_one_before(tmp_path, commands, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "fail_round_2").touch()
    assert run(tmp_path, "--annotate.min_iou=0.25") == 1
    assert "round_2 failed" in capsys.readouterr().err and "| round_1 |" in (out / "rounds.md").read_text()
    (out / "fail_round_2").unlink()
    assert run(tmp_path, "--annotate.min_iou=0.25") == 0
    starts = [len((out / f"round_{number}" / "starts.txt").read_text()) for number in (1, 2)]
    assert starts == [1, 2] and len(commands) == 1, "what is done is not done again"
    boxes = out / "world" / "boxes" / "train"
    assert commands[0][1:] == [
        "-m", "experiments.annotate", "--mode=boxes", f"--workdir={out / 'round_1'}", f"--images={boxes / 'images'}",
        f"--annotations={boxes / 'boxes.json'}", "--vocabulary=shapes_boxes", "--min_iou=0.25",
        f"--out={out / 'annotations' / 'round_1' / 'boxes'}",
    ]  # fmt: skip
    first, second = (arguments(tmp_path, number) for number in (1, 2))
    assert first["datasets"]["boxes"]["task"] == "boxes" and first["world"]["root"] == str(out / "world")
    changed = {
        "task": "instance",
        "format": "coco_instances",
        "images": "images",
        "annotations": str(out / "annotations" / "round_1" / "boxes" / "instances.json"),
    }
    assert second["datasets"]["boxes"] == first["datasets"]["boxes"] | changed
    second["datasets"]["boxes"] = first["datasets"]["boxes"]
    assert second == first
    table = (out / "rounds.md").read_text()
    assert "| round_1 |  |  |  | 25.0 |" in table and "| round_2 | 21 | 8 | 50.0% | 50.0 |" in table
    assert (out / "rounds.png").exists() and (out / "rounds.csv").read_text().count("\n") == 3


def test_the_flags_of_a_round_make_its_config(tmp_path):
    """As experiments.main gets them, for a third round and datasets that are chosen."""
    base = [SMOKE, f"--config.world.root={tmp_path}"]
    given = rounds.settings.from_config(resolve(base), str(tmp_path))
    (boxes,) = rounds._boxes(given.datasets, "boxes")
    variant = rounds.round_variant(3, str(tmp_path / "out"), base, [boxes])
    config = resolve(variant.arguments)
    assert config.datasets.boxes.annotations == str(tmp_path / "out/annotations/round_2/boxes/instances.json")
    assert variant.index == 2 and variant.workdir == tmp_path / "out" / "round_3"
    assert rounds.round_variant(1, str(tmp_path / "out"), base, [boxes]).arguments == tuple(base)


WRONG = [
    (["--datasets=panoptic"], "--datasets=panoptic: panoptic is none of these; rounds need a training dataset of task"),
    (["--config.datasets.boxes.ratio=0"], "the config has none; rounds need a training dataset of task boxes"),
    (["--config.datasets.boxes.vocabulary=a,b"], "config.datasets.boxes.vocabulary='a,b': give the path"),
    (["--annotate.out=x"], "--annotate.out=x: of experiments.annotate, rounds take min_iou"),
    (["--min_iou=1"], "unknown argument '--min_iou=1'"),
    (["--rounds=0"], "argument --rounds: 0 is no whole number of at least 1"),
]


@pytest.mark.parametrize(("flags", "said"), WRONG, ids=[flags[0] for flags, _ in WRONG])
def test_wrong_flags_are_one_line_and_status_2(tmp_path, capsys, flags, said):
    assert run(tmp_path, *flags) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and "\n" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_with_the_real_annotator(tmp_path, trained_run):
    """A model of three steps, whose masks the config of the next round can be read with."""
    workdir, world = trained_run
    (tmp_path / "model").symlink_to(workdir)
    more = (f"--config.world.root={world}", "--annotate.min_iou=0", "--annotate.shards=2")
    assert run(tmp_path, *more) == 0
    made = json.loads((tmp_path / "out/annotations/round_1/boxes/counts.json").read_text())["counts"]
    assert made["images"] == 32 and made["masks"] > 0
    second = rounds.round_variant(2, str(tmp_path / "out"), [SMOKE, *more[:1]], _chosen(tmp_path, more[0]))
    given = rounds.settings.from_config(resolve(second.arguments), str(tmp_path))
    (boxes,) = [dataset for dataset in given.datasets if dataset.name == "boxes"]
    opened = open_dataset(boxes, given, training=True)
    assert len(opened.source) == 32 and sum(len(e.masks) for e in opened.source) == made["masks"]


def _chosen(tmp_path, flag):
    given = rounds.settings.from_config(resolve([SMOKE, flag]), str(tmp_path))
    return rounds._boxes(given.datasets, None)
