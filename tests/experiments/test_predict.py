"""The real program: odd images, every task's files scored by the other entry point, and bad input in one line."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from dataseg_jax.commands.images import find_images, image_ids
from dataseg_jax.text import load_vocabulary
from experiments.evaluate import score_ap, score_miou_labels, score_pq

# Names as of a dataset whose ids are numbers, so that image ids follow them.
SIZES = {"wide_2.png": (37, 500), "gray_3.png": (50, 60), "alpha_4.png": (40, 70), "exif_5.jpg": (90, 60),
         "deep_7.png": (48, 64)}  # fmt: skip


def program(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def predict(workdir, out, *more):
    return program("experiments.predict", f"--workdir={workdir}", f"--out={out}", "--vocabulary=shapes_panoptic", *more)


@pytest.fixture
def workdir(trained_run):
    """A short run; tests do not change it."""
    return trained_run[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)

    def noise(height, width, channels=3):
        small = rng.integers(0, 256, (5, 5, channels), np.uint8)
        return np.squeeze(cv2.resize(small, (width, height)))

    Image.fromarray(noise(37, 500)).save(folder / "wide_2.png")
    Image.fromarray(noise(50, 60, 1)).save(folder / "gray_3.png")
    Image.fromarray(noise(40, 70, 4)).save(folder / "alpha_4.png")
    turned = Image.fromarray(noise(60, 90))
    exif = turned.getexif()
    exif[274] = 6  # Orientation: to be turned by a quarter.
    turned.save(folder / "exif_5.jpg", exif=exif)
    Image.fromarray(noise(48, 64, 1).astype(np.uint16) * 257).save(folder / "deep_7.png")
    return folder


def size_of(path):
    with Image.open(path) as image:
        return image.size[::-1]


def test_odd_images_of_the_panoptic_task(workdir, photos, tmp_path):
    done = predict(workdir, tmp_path, f"--images={photos}", "--batch_size=2")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "panoptic.json").read_text())
    assert {i["file_name"]: (i["height"], i["width"]) for i in content["images"]} == SIZES
    assert {i["file_name"]: i["id"] for i in content["images"]} == {n: int(n[-5]) for n in SIZES}
    for entry in content["annotations"]:
        rgb = np.asarray(Image.open(tmp_path / "panoptic" / entry["file_name"])).astype(int)
        ids = rgb @ [1, 256, 65536]
        assert {s["id"]: s["area"] for s in entry["segments_info"]} == dict(
            zip(*(x.tolist() for x in np.unique(ids[ids > 0], return_counts=True)), strict=True)
        )
        for segment in entry["segments_info"]:
            y, x = np.nonzero(ids == segment["id"])
            assert segment["bbox"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
    for name, (height, width) in SIZES.items():
        factor = max(1, -(-256 // max(height, width)))
        drawn = size_of(tmp_path / "overlays" / f"{name[:-4]}.jpg")
        assert drawn[0] > factor * height and drawn[1] == max(256, factor * width)
    # The files are a ground truth as good as any: against themselves they score 1.
    assert score_pq(tmp_path / "panoptic.json", tmp_path / "panoptic.json")["pq"] == 1.0


@pytest.fixture(scope="module")
def cameras(photos, tmp_path_factory):
    """Images of different sizes with one stem: in two folders, in one, and in spellings that differ in case."""
    root = tmp_path_factory.mktemp("cameras")
    names = {"cam1/0001.png": "wide_2.png", "cam2/0001.png": "gray_3.png", "cam2/0001.jpg": "exif_5.jpg",
             "CAM2/0001.png": "alpha_4.png"}  # fmt: skip
    for name, photo in names.items():
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / photo, root / name)
    return root, {name: SIZES[photo] for name, photo in names.items()}


@pytest.mark.parametrize("task", ["panoptic", "semantic"])
def test_images_of_one_name_keep_their_results_apart(workdir, cameras, tmp_path, task):
    root, sizes = cameras
    done = predict(workdir, tmp_path, f"--images={root},{root}/cam1/../cam1/0001.png", f"--task={task}")
    assert done.returncode == 0 and "4 images predicted" in done.stdout, done.stderr
    pngs = {
        path.relative_to(tmp_path).as_posix()
        for path in (tmp_path / {"panoptic": "panoptic", "semantic": "labels"}[task]).rglob("*.png")
    }
    assert len({name.casefold() for name in pngs}) == 4 == len(list((tmp_path / "overlays").rglob("*.jpg")))
    assert "cam1/0001.png" in {name.partition("/")[2] for name in pngs}
    if task == "semantic":
        assert sorted(size_of(tmp_path / name) for name in pngs) == sorted(sizes.values())
        assert score_miou_labels(tmp_path / "labels", tmp_path / "labels")["images"] == 4
        return
    content = json.loads((tmp_path / "panoptic.json").read_text())
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert set(files.values()) == set(sizes)
    for entry in content["annotations"]:
        assert size_of(tmp_path / "panoptic" / entry["file_name"]) == sizes[files[entry["image_id"]]]
    assert score_pq(tmp_path / "panoptic.json", tmp_path / "panoptic.json")["pq"] == 1.0


def test_files_of_the_other_tasks_can_be_scored(workdir, photos, tmp_path):
    semantic, instance = tmp_path / "semantic", tmp_path / "instance"
    flags = f"--images={photos}/*_[3-5].*", "--overlays=none"
    assert predict(workdir, semantic, *flags, "--task=semantic").returncode == 0
    assert sorted(os.listdir(semantic / "labels")) == ["alpha_4.png", "exif_5.png", "gray_3.png"]
    score = score_miou_labels(semantic / "labels", semantic / "labels", vocabulary="shapes_panoptic")
    assert score["miou"] == 1.0 and not (semantic / "overlays").exists()

    assert predict(workdir, instance, *flags, "--task=instance").returncode == 0
    results = json.loads((instance / "results.json").read_text())
    images = json.loads((instance / "images.json").read_text())
    assert {r["category_id"] for r in results} <= set(load_vocabulary("shapes_panoptic").ids)
    # Every result as its own truth: what is best is found.
    truth = [r | {"id": n + 1, "iscrowd": 0, "area": 1.0, "bbox": [0, 0, 1, 1]} for n, r in enumerate(results)]
    (tmp_path / "truth.json").write_text(json.dumps(images | {"annotations": truth}))
    assert score_ap(tmp_path / "truth.json", instance / "results.json")["mask_ap50"] > 0.9


def test_a_broken_image_is_reported_and_skipped(workdir, photos, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    done = predict(workdir, tmp_path / "out", f"--images={tmp_path}/in,{photos}/gray_3.png")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("failed: ") and "bad.png" in line]
    assert os.listdir(tmp_path / "out" / "panoptic") == ["gray_3.png"]
    assert "1 images predicted" in done.stdout and "1 failed" in done.stdout


def test_nothing_found_says_which_threshold(workdir, photos, tmp_path):
    done = predict(workdir, tmp_path, f"--images={photos}/gray_3.png", "--score_threshold=0.999")
    assert done.returncode == 0
    assert "no segment; 0 of 20 proposals kept" in done.stderr and "score threshold 0.999" in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--images=nowhere"], "nowhere: no such file or folder"),
        (["--images={empty}"], "no image found"),
        (["--images={empty}/*.png"], "no image found"),
        (["--images={image}", "--vocabulary=shapes_panoptik"], "did you mean 'shapes_panoptic'"),
        (["--images={image}", "--vocabulary=disc, zzyzzx"], "no bundled all-MiniLM-L6-v2 embedding for 'zzyzzx'"),
        (["--images={image}", "--task=panoptik"], "unknown task 'panoptik'"),
        (["--images={image}", "--workdir={empty}"], "no checkpoint here"),
        (["--images={image}", "--score_threshold=80"], "score_threshold is 80.0; it must be within 0 and 1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(workdir, photos, tmp_path, flags, said):
    (tmp_path / "empty").mkdir()
    flags = [flag.format(empty=tmp_path / "empty", image=photos / "gray_3.png") for flag in flags]
    done = predict(workdir, tmp_path / "out", *flags)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(errors) == 1 and said in errors[0], done.stderr
    assert "Traceback" not in done.stderr


def test_ids_are_numbers_of_names_or_places(tmp_path):
    for name in ("b.png", "a.jpg", "sub/000012.PNG", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    files = find_images([str(tmp_path), f"{tmp_path}/a.*"])
    assert [file.name for file in files] == ["a.jpg", "b.png", "000012.PNG"]
    assert list(image_ids(files).values()) == [1, 2, 3]
    assert list(image_ids(find_images([f"{tmp_path}/**/0*"])).values()) == [12]
