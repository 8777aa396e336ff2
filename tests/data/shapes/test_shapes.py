"""The shapes world: reproducible, valid in all three layouts, whole or absent, and as hard as it says."""

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from data.shapes import Counts, World, draw, write_world
from data.shapes.__main__ import main
from data.shapes.layouts import CATEGORIES, category_id
from data.shapes.world import PARTS, SPLITS, STUFF, THINGS
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary

COUNTS = Counts(panoptic=60, semantic=12, boxes=55, val=8)
# Each dataset's words, and the classes of the world that they mean.
MEANT = {
    "panoptic": [*((name, name) for name in ("circle", "square", "triangle", "star", "grass")),
                 ("water", "sea", "pond"), ("sand", "sand")],
    "semantic": [("disc", "circle"), ("box", "square"), ("triangle", "triangle"), ("asterisk", "star"),
                 ("lawn", "grass"), ("sea", "sea"), ("pond", "pond"), ("desert", "sand")],
    "boxes": [(name, name) for name in ("circle", "square", "star", "cross")],
    "referring": [("disc", "circle"), *((name, name) for name in ("square", "triangle", "star", "cross"))],
    "parts": [*((name, name) for name in ("circle", "square", "triangle", "star", "cross")), ("core",)],
    "transfer": [("ball", "circle"), ("quadrilateral", "square"), ("triangle", "triangle"), ("star", "star"),
                 ("plus sign", "cross"), ("land", "grass", "sand"), ("ocean", "sea"), ("pool", "pond")],
}  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("shapes") / "easy", World(), COUNTS, workers=1)


def read(path: Path) -> np.ndarray:
    """Pixels as stored; colour as RGB."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return pixels[..., ::-1] if pixels.ndim == 3 else pixels


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def box_of(mask: np.ndarray) -> list[int]:
    """Naive tight box [x, y, width, height]."""
    points = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    left, top = min(x for x, _ in points), min(y for _, y in points)
    return [left, top, max(x for x, _ in points) - left + 1, max(y for _, y in points) - top + 1]


def test_the_files_do_not_depend_on_the_number_of_workers(root, tmp_path):
    assert digests(write_world(tmp_path / "again", World(), COUNTS, workers=3)) == digests(root)


def test_an_image_depends_on_its_index_and_not_on_the_counts(root, tmp_path):
    fewer = digests(write_world(tmp_path / "fewer", World(), Counts(panoptic=3, semantic=2, boxes=1, val=2), workers=1))
    full = digests(root)
    pixels = {name for name in fewer if name.endswith((".jpg", ".png"))}
    assert len(pixels) == 2 * 3 + 2 * 2 + 1 + 8 * 2
    assert all(fewer[name] == full[name] for name in pixels)
    assert len({full[name] for name in full if name.endswith(".jpg")}) == 60 + 12 + 55 + 4 * 8
    assert not np.array_equal(draw(World(seed=1), "boxes", "val", 0).image, draw(World(), "boxes", "val", 0).image)


def test_the_categories_are_those_of_the_vocabularies():
    for dataset in CATEGORIES:
        vocabulary = load_vocabulary(f"shapes_{dataset}")
        assert CATEGORIES[dataset] == vocabulary.names == tuple(c[0] for c in MEANT[dataset])
        assert vocabulary.ids == tuple(range(1, len(vocabulary) + 1))
        for name in THINGS + STUFF:
            meant = [key for key, classes in enumerate(MEANT[dataset], 1) if name in classes[1:]]
            assert [category_id(dataset, name)] == (meant or [0])


@pytest.mark.parametrize(
    ("dataset", "split"), [("panoptic", "train"), ("panoptic", "val"), ("semantic", "val"), ("transfer", "val")]
)
def test_panoptic_layout(root, dataset, split):
    folder = root / dataset / split
    content = json.loads((folder / "panoptic.json").read_text())
    vocabulary = load_vocabulary(f"shapes_{dataset}")
    stuff_ids = {i for i, thing in zip(vocabulary.ids, vocabulary.is_thing, strict=True) if not thing}
    assert [(c["id"], c["name"], bool(c["isthing"])) for c in content["categories"]] == list(
        zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True)
    )
    assert len(content["images"]) == len(content["annotations"]) == COUNTS.of(dataset, split)
    assert (
        len(list((folder / "images").iterdir())) == len(list((folder / "panoptic").iterdir())) == len(content["images"])
    )
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        assert annotation["image_id"] == image["id"]
        rgb = read(folder / "panoptic" / annotation["file_name"]).astype(int)
        assert rgb.shape == read(folder / "images" / image["file_name"]).shape == (64, 64, 3)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        segments = annotation["segments_info"]
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in segments}
        assert len({segment["id"] for segment in segments}) == len(segments)
        for segment in segments:
            mask = ids == segment["id"]
            assert (segment["area"], segment["bbox"]) == (mask.sum(), box_of(mask))
        stuff = [segment["category_id"] for segment in segments if segment["category_id"] in stuff_ids]
        assert len(stuff) == len(set(stuff))


@pytest.mark.parametrize("split", SPLITS)
def test_semantic_layout(root, split):
    folder = root / "semantic" / split
    vocabulary = load_vocabulary("shapes_semantic")
    names = json.loads((folder / "names.json").read_text())
    assert [(c["id"], c["name"], bool(c["isthing"])) for c in names] == list(
        zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True)
    )
    images, labels = sorted((folder / "images").iterdir()), sorted((folder / "labels").iterdir())
    assert [path.stem for path in images] == [path.stem for path in labels]
    assert len(images) == COUNTS.of("semantic", split)
    for index, path in enumerate(labels):
        written = read(path)
        scene = draw(World(), "semantic", split, index)
        assert written.dtype == np.uint8
        for y, x in ((5, 9), (32, 32), (60, 40)):
            name = scene.names[scene.segments[y, x]]
            assert written[y, x] == (0 if scene.void[y, x] else category_id("semantic", name))
        assert set(np.unique(written)) <= {0, *vocabulary.ids}


@pytest.mark.parametrize("split", SPLITS)
def test_boxes_layout(root, split):
    folder = root / "boxes" / split
    boxes = json.loads((folder / "boxes.json").read_text())
    assert {record for annotation in boxes["annotations"] for record in annotation} == {
        "id", "image_id", "category_id", "bbox", "area", "iscrowd"
    }  # fmt: skip
    assert tuple(category["name"] for category in boxes["categories"]) == CATEGORIES["boxes"]
    assert (folder / "masks.json").exists() == (split == "val")
    for index, image in enumerate(boxes["images"]):
        scene = draw(World(), "boxes", split, index)
        expected = [
            {"category_id": category_id("boxes", name), "bbox": box_of(scene.segments == k)}
            for k, name in enumerate(scene.names)
            if name in THINGS and np.count_nonzero(scene.segments == k) >= 12
        ]
        records = [annotation for annotation in boxes["annotations"] if annotation["image_id"] == image["id"]]
        assert [{key: annotation[key] for key in ("category_id", "bbox")} for annotation in records] == expected
        assert all(annotation["area"] == annotation["bbox"][2] * annotation["bbox"][3] for annotation in records)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with numpy 2
def test_masks_of_the_boxes_set(root):
    boxes, masks = (COCO(str(root / "boxes" / "val" / f"{name}.json")) for name in ("boxes", "masks"))
    assert boxes.getAnnIds() == masks.getAnnIds()
    for key, annotation in masks.anns.items():
        mask = masks.annToMask(annotation)
        assert annotation["bbox"] == boxes.anns[key]["bbox"] == box_of(mask)
        assert annotation["area"] == mask.sum() == coco_mask.area(annotation["segmentation"])
    for image_id in masks.getImgIds():
        together = sum(masks.annToMask(masks.anns[key]) for key in masks.getAnnIds(image_id))
        assert np.max(together) == 1, "visible parts do not overlap"


def test_the_cross_shows_in_boxes_and_in_transfer_alone():
    shown = {dataset: set() for dataset, _ in PARTS}
    for dataset, split in PARTS:
        for index in range(60):
            shown[dataset] |= set(draw(World(size=32), dataset, split, index).names)
    assert shown["panoptic"] == shown["semantic"] == {"circle", "square", "triangle", "star", *STUFF}
    assert shown["boxes"] == {"circle", "square", "star", "cross", *STUFF}
    assert shown["transfer"] == {*THINGS, *STUFF}


def test_void_is_there_and_rare():
    void = np.array([draw(World(), "panoptic", "train", index).void.mean() for index in range(150)])
    assert 0.2 < np.mean(void > 0) < 0.6
    assert 0.001 < void.mean() < 0.03


def test_slivers_are_void_or_not_annotated(tmp_path):
    world = World(size=32, things=(12, 12), min_visible=40)  # crowded, so that many things are nearly hidden
    hidden = 0
    for index in range(10):
        scene = draw(world, "semantic", "train", index)
        visible = np.bincount(scene.segments.ravel(), minlength=len(scene.names))
        hidden += np.count_nonzero(visible < 40)
        assert scene.void[(visible < 40)[scene.segments]].all()
    assert hidden > 20
    root = write_world(tmp_path / "crowded", world, Counts(panoptic=4, semantic=1, boxes=1, val=4), workers=1)
    assert all(annotation["area"] >= 40 for annotation in COCO(str(root / "boxes/val/masks.json")).anns.values())


def test_the_images_are_stored_faithfully(root):
    for dataset in ("panoptic", "semantic", "boxes", "transfer"):
        drawn = draw(World(), dataset, "val", 3).image.astype(float)
        stored = read(root / dataset / "val" / "images" / "000003.jpg").astype(float)
        assert np.abs(drawn - stored).mean() < 4, "RGB order kept, little lost"


def test_a_repeated_write_returns_at_once(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_world(root, World(), COUNTS) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_world_json_records_every_constant(root):
    content = json.loads((root / "world.json").read_text())
    assert content["world"].keys() == {field.name for field in dataclasses.fields(World)}
    assert content["world"]["radius"] == [0.15, 0.28]
    assert content["counts"] == {name: count for name, count in dataclasses.asdict(COUNTS).items() if count}


def test_another_world_in_the_same_folder_is_refused(root, tmp_path):
    with pytest.raises(InputError, match=r"world\.json.*world\.seed is 0 and not 7.*choose another folder"):
        write_world(root, World(seed=7), COUNTS)
    with pytest.raises(InputError, match=r"counts\.boxes is 55 and not 54"):
        write_world(root, World(), dataclasses.replace(COUNTS, boxes=54))
    (tmp_path / "letter.txt").write_text("dear user")
    with pytest.raises(InputError, match="without a readable world.json; choose another folder"):
        write_world(tmp_path, World(), COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_bad_worlds_are_refused(tmp_path, capsys):
    for bad in ({"difficulty": "medium"}, {"size": 8}, {"seed": -1}, {"ponds": (0, 2)}, {"ponds": (3, 2)}):
        with pytest.raises(InputError, match=next(iter(bad))):
            World(**bad)
    with pytest.raises(InputError, match="semantic is 0"):
        Counts(semantic=0)
    assert main([f"--root={tmp_path / 'no'}", "--difficulty=medium"]) == 1
    assert "choose easy, hard or a number from 0 (easy) to 1 (hard)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch, workers):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("data.shapes.write.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_world(
            tmp_path / "world", World(size=32), Counts(panoptic=1, semantic=1, boxes=150, val=1), workers=workers
        )
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_world_and_no_helpers(tmp_path):
    root = tmp_path / "world"
    command = [sys.executable, "-m", "data.shapes", f"--root={root}", "--workers=2", "--panoptic=100000"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE)

    def count_images() -> int:
        return sum(1 for _ in tmp_path.rglob("*.jpg"))

    try:
        deadline = time.monotonic() + 60
        while count_images() < 20:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    # The helpers hold the other end of stderr, so this returns when the last of them has ended.
    process.stderr.read()
    process.stderr.close()
    assert not root.exists()
    left = count_images()
    time.sleep(0.3)
    assert count_images() == left


def test_the_command_line_writes_a_world(tmp_path, capsys):
    counts = ["--panoptic=1", "--semantic=1", "--boxes=1", "--val=1", "--workers=1"]
    world = ["--difficulty=hard", "--size=40", "--seed=3", "--ponds=3"]
    assert main([f"--root={tmp_path / 'world'}", *world, *counts]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(tmp_path / "world")
    assert "7/7" in captured.err
    content = json.loads((tmp_path / "world" / "world.json").read_text())
    assert content["world"]["difficulty"] == "hard" and content["world"]["things"] == [1, 6]
    assert content["world"]["ponds"] == [1, 3] and (tmp_path / "world/transfer/val/panoptic.json").exists()
    assert read(tmp_path / "world/boxes/val/images/000000.jpg").shape == (40, 40, 3)


def test_no_worker_imports_jax():
    code = "import sys, data.shapes.worker; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
