"""experiments.annotate as users run it: masks from boxes by the bundled model, against the masks of the world."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from data.example import VOID
from data.readers.coco.instances import CocoInstances
from data.shapes.world import World
from data.shapes.write import Counts, write_world
from dataseg_jax.text import load_vocabulary
from tests.experiments.annotate import tiny

ROOT = pathlib.Path(__file__).parents[3]
MODEL = ROOT / "dataseg_jax/io/pretrained/shapes.npz"


def annotate(boxes, out, *more, mode="boxes"):
    flags = (f"--mode={mode}", f"--annotations={boxes / 'boxes.json'}", f"--images={boxes / 'images'}", f"--out={out}")
    command = [sys.executable, "-m", "experiments.annotate", *flags, *map(str, more)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Images with boxes, and the masks that these were made from beside them."""
    root = tmp_path_factory.mktemp("world")
    write_world(str(root), World(size=64, seed=3), Counts(panoptic=1, semantic=1, boxes=1, val=12), workers=1)
    return root / "boxes" / "val"


@pytest.fixture(scope="module")
def annotated(boxes, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "new"
    done = annotate(boxes, out, f"--checkpoint={MODEL}", "--batch_size=5")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_masks_are_those_of_the_objects(boxes, annotated):
    out, said = annotated
    given, truth = (json.loads((boxes / name).read_text()) for name in ("boxes.json", "masks.json"))
    made = json.loads((out / "instances.json").read_text())
    assert made["categories"] == given["categories"]
    assert {image["id"]: image["file_name"] for image in made["images"]} == {
        image["id"]: image["file_name"] for image in given["images"]
    }
    found, crowds = ([a for a in made["annotations"] if a["iscrowd"] == flag] for flag in (0, 1))
    left_out = sum(not a.get("iscrowd") for a in given["annotations"]) - len(found)
    assert len(crowds) == left_out > 0
    for entry in crowds:
        assert mask_utils.toBbox(entry["segmentation"]).tolist() == entry["bbox"]
        assert mask_utils.area(entry["segmentation"]) == entry["bbox"][2] * entry["bbox"][3]
    assert len(found) > 10 and f"{len(found)} masks" in said and f"; {left_out} boxes without a mask that fits" in said
    mean = np.mean([a["predicted_iou"] for a in found])
    assert f"mean IoU of boxes {mean:.3f}" in said and min(a["predicted_iou"] for a in found) >= 0.5
    ious = []
    for entry in found:
        (true,) = [t for t in truth["annotations"] if t["image_id"] == entry["image_id"] and t["bbox"] == entry["bbox"]]
        assert true["category_id"] == entry["category_id"]
        ious.append(mask_utils.iou([entry["segmentation"]], [true["segmentation"]], [0])[0, 0])
        x, y, w, h = mask_utils.toBbox(entry["segmentation"])
        assert x >= entry["bbox"][0] and y >= entry["bbox"][1]
        assert x + w <= entry["bbox"][0] + entry["bbox"][2] and y + h <= entry["bbox"][1] + entry["bbox"][3]
        assert entry["area"] == mask_utils.area(entry["segmentation"]) > 0
    assert np.mean(ious) > 0.7  # The boxes' rectangles alone have about .6 here.


def test_the_output_is_an_ordinary_dataset(boxes, annotated):
    out, _ = annotated
    vocabulary = load_vocabulary(out / "instances.json")
    path = str(out / "instances.json")
    source = CocoInstances("", vocabulary, name="made", images=str(boxes / "images"), annotations=path)
    annotations = json.loads((out / "instances.json").read_text())["annotations"]
    assert sum(len(example.labels) for example in source) == sum(not a["iscrowd"] for a in annotations)
    assert any((example.segments == VOID).any() for example in source), "what no mask fits is void"


def test_a_higher_threshold_leaves_more_out_and_failures_are_reported(boxes, annotated, tmp_path):
    shutil.copytree(boxes, tmp_path / "in")
    given = json.loads((tmp_path / "in" / "boxes.json").read_text())
    given["annotations"][0]["iscrowd"] = 1
    (tmp_path / "in" / "boxes.json").write_text(json.dumps(given))
    first = min(given["images"], key=lambda image: image["id"])["file_name"]
    last = max(given["images"], key=lambda image: image["id"])["file_name"]
    (tmp_path / "in" / "images" / last).write_bytes(b"no image")
    done = annotate(tmp_path / "in", tmp_path / "out", f"--checkpoint={MODEL}", "--min_iou=0.8")
    assert done.returncode == 1 and f"{last}" in done.stderr and "Traceback" not in done.stderr
    assert "1 crowds or boxes without area, 1 images failed" in done.stdout
    made = json.loads((tmp_path / "out" / "instances.json").read_text())
    before = json.loads((annotated[0] / "instances.json").read_text())["annotations"]
    masks, of_before = ([a for a in some if not a["iscrowd"]] for some in (made["annotations"], before))
    assert 0 < len(masks) < len(of_before)
    assert all(a["predicted_iou"] >= 0.8 for a in masks)
    names = [image["file_name"] for image in made["images"]]
    assert first in names and last not in names


@pytest.mark.parametrize(
    ("mode", "more", "said"),
    [
        ("points", [f"--checkpoint={MODEL}"], "answers no prompts; give --weights of a SAM, or --mode=boxes"),
        ("boxes", [], "give --weights, --workdir or --checkpoint, one of the three"),
        ("boxes", [f"--checkpoint={MODEL}", "--annotations=nowhere.json"], "nowhere.json: no such file"),
        ("boxes", [f"--checkpoint={MODEL}", "--images=nowhere"], "image folder nowhere does not exist"),
        ("boxes", [f"--checkpoint={MODEL}", "--vocabulary=coco_panoptic"], "calls"),
        ("boxes", ["--workdir=nowhere"], "no checkpoint here"),
    ],
)
def test_bad_input_is_one_line_and_status_2(boxes, tmp_path, capsys, mode, more, said):
    paths = (f"--annotations={boxes / 'boxes.json'}", f"--images={boxes / 'images'}")
    assert tiny.annotate(tmp_path / "out", f"--mode={mode}", *paths, *more) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and "\n" not in error
    assert not (tmp_path / "out").exists()
