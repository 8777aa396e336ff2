"""Datasets of two cameras whose images have the same names: no file of an evaluation takes the place of another."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from configs import quickstart
from data.shapes import Counts, write_world
from dataseg_jax.results.segmentation import Segment, Segmentation
from experiments import build
from experiments.evaluate import score_miou_labels, score_pq
from experiments.evaluation.prediction_writer import PredictionWriter
from experiments.runtime import settings
from tests.messages import one_line

NAMES = [f"cam{camera}/00000{number}.png" for camera in (0, 1) for number in (0, 1)]
CONFIG = """
from tests.experiments import small_run
from configs import base

def get_config():
    c = small_run.get_config()
    c.steps = 1
    c.eval.update(every=0, write_predictions=True, score_threshold=0.0, overlap_threshold=0.0)
    for name in list(c.validation):
        del c.validation[name]
    c.validation.panoptic = base.dataset(task="panoptic", vocabulary="shapes_panoptic", root="{root}/panoptic")
    c.validation.semantic = base.dataset(
        task="semantic", format="label_png", vocabulary="shapes_semantic", root="{root}/semantic",
        images="images/*/*.jpg", masks="labels/*/*.png",
    )
    return c
"""


def two_cameras(folder):
    """Moves the files 0, 1, 2, 3 of a folder to cam0/0, cam0/1, cam1/0, cam1/1."""
    for number, file in enumerate(sorted(path for path in folder.iterdir() if path.is_file())):
        place = folder / f"cam{number // 2}" / f"{number % 2:06}{file.suffix}"
        place.parent.mkdir(exist_ok=True)
        file.rename(place)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Of each dataset images/cam0/000000.jpg, cam0/000001.jpg, cam1/000000.jpg and cam1/000001.jpg."""
    root = tmp_path_factory.mktemp("cameras")
    write_world(root / "world", counts=Counts(panoptic=1, semantic=1, boxes=1, val=4), workers=1)
    for name, parts in {"panoptic": ("images", "panoptic"), "semantic": ("images", "labels")}.items():
        (root / "world" / name / "val").rename(root / name)
        for part in parts:
            two_cameras(root / name / part)
    file = root / "panoptic" / "panoptic.json"
    text = re.sub(
        r'"00000(\d)\.(jpg|png)"', lambda m: f'"cam{int(m[1]) // 2}/00000{int(m[1]) % 2}.{m[2]}"', file.read_text()
    )
    assert text.count("cam1/000001.") == 2
    file.write_text(text)
    return root


def pngs(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def dataset_of(root, kind):
    config = quickstart.get_config("smoke")
    dataset = config.validation[kind]
    dataset.root = str(root / kind)
    if kind == "semantic":
        dataset.update(images="images/*/*.jpg", masks="labels/*/*.png")
    run = settings.from_config(config, "unused")
    return build.open_dataset(next(d for d in run.validation if d.name == kind), run)


@pytest.mark.parametrize("kind", ["panoptic", "semantic"])
def test_the_answer_to_an_image_is_written_beside_its_own_truth(root, tmp_path, kind):
    """Three of four answers are right, and are equal to the truth in the files of these three."""
    dataset, entries = dataset_of(root, kind), []
    writer = PredictionWriter(tmp_path, dataset)
    for index in range(4):
        example = dataset.source[index]
        right = np.maximum(example.segments + 1, 0).astype(np.int32)
        segments = tuple(Segment(k + 1, int(label), "", True, 0.9, 1) for k, label in enumerate(example.labels))
        answer = Segmentation(
            example.image, kind, right if index < 3 else np.roll(right, 9, 1), segments, dataset.vocabulary, None
        )
        entries.append(writer.write(index, example, answer))
    writer.close(reversed(entries))
    folder = tmp_path / "predictions" / kind
    assert pngs(folder / "predictions") == pngs(folder / "ground_truth") == NAMES
    sides = ([cv2.imread(str(folder / side / name), cv2.IMREAD_UNCHANGED) for name in NAMES]
             for side in ("predictions", "ground_truth"))  # fmt: skip
    assert [np.array_equal(*pair) for pair in zip(*sides, strict=True)] == [True, True, True, False]
    if kind == "panoptic":
        scores = score_pq(folder / "ground_truth.json", folder / "predictions.json")
        images = json.loads((folder / "predictions.json").read_text())["images"]
        assert [image["file_name"] for image in images] == [name.replace(".png", ".jpg") for name in NAMES]
    else:
        scores = score_miou_labels(folder / "ground_truth", folder / "predictions", vocabulary="shapes_semantic")
    assert scores["images"] == 4 and 0.5 < scores["pq" if kind == "panoptic" else "miou"] < 1


def test_files_that_cannot_be_written_are_one_line(root, tmp_path):
    dataset = dataset_of(root, "semantic")
    writer, example = PredictionWriter(tmp_path, dataset), dataset.source[0]
    answer = Segmentation(example.image, "semantic", np.zeros(example.image.shape[:2], np.int32), (),
                          dataset.vocabulary, None)  # fmt: skip
    folder = tmp_path / "predictions" / "semantic" / "predictions"
    (folder / "cam0").write_text("a file where a folder has to be")
    one_line(lambda: writer.write(0, example, answer), f"{folder}/cam0/000000.png", "cannot be written")


@pytest.fixture(scope="module")
def run(root):
    """The folder that an evaluation of both datasets has written to."""
    (root / "config.py").write_text(CONFIG.replace("{root}", str(root)))
    done = program("main", f"--config={root / 'config.py'}", f"--workdir={root / 'run'}")
    assert done.returncode == 0, done.stderr
    return root / "run"


def program(name, *arguments):
    command = [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "metric", "ending"), [("panoptic", "pq", ".json"), ("semantic", "miou", "")])
def test_the_files_score_what_the_run_scored(run, kind, metric, ending):
    folder = run / "predictions" / kind
    assert pngs(folder / "ground_truth") == NAMES
    sides = (f"--{side}={folder / side}{ending}" for side in ("ground_truth", "predictions"))
    more = ["--vocabulary=shapes_semantic"] if kind == "semantic" else []
    done = program("evaluate", f"--metric={metric}", *sides, *more)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout.splitlines()[-1])
    expected = json.loads((run / "results.json").read_text())["scores"][kind]
    assert scores["images"] == 4
    assert scores[metric] == pytest.approx(expected[metric], abs=1e-12)
    assert scores[metric] > 0 or kind == "panoptic"  # After one step.


@pytest.mark.slow
def test_the_report_tells_the_images_apart(run):
    page = (run / "report.html").read_text()
    names = re.findall(r"<h4>(\S+) <small>", page)
    assert len(names) == len(set(names)) + 4 == 8 and "images/cam1/000001.jpg" in names  # Four of each dataset.
