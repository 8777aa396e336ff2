"""The shapes world's difficulty, its ponds, and the parts that are for evaluation alone."""

import colorsys
import dataclasses
import json

import cv2
import numpy as np
import pytest

from data.formats import open_source
from data.shapes import Counts, World, draw, write_world
from data.shapes.layouts import CATEGORIES, category_id
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary

PONDS = World(ponds=(1, 3))
INTERVALS = ("radius", "thing_saturation", "thing_value", "stuff_saturation", "stuff_value")
# Segments, their pixels and the mean colour with seed 3, as they were before difficulty was a number.
GOLDEN = (
    ("easy", "panoptic", "train", 7, "sea pond star square", [2098, 1721, 96, 181], [51, 118, 161]),
    ("easy", "semantic", "val", 5, "sand pond star triangle square", [2269, 1036, 204, 185, 402], [164, 164, 90]),
    ("easy", "boxes", "train", 2, "sea pond square", [3042, 594, 460], [40, 109, 152]),
    ("hard", "panoptic", "train", 7, "sea pond star square", [2104, 1663, 38, 291], [153, 97, 59]),
    ("hard", "semantic", "val", 5, "sand pond star triangle square triangle square",
     [2220, 1036, 148, 195, 234, 84, 179], [92, 171, 93]),
    ("hard", "boxes", "train", 2, "sea pond square", [3050, 650, 396], [96, 123, 63]),
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    counts = Counts(panoptic=1, semantic=1, boxes=1, val=20)
    return write_world(tmp_path_factory.mktemp("shapes") / "ponds", PONDS, counts, workers=1)


def panoptic_truth(folder):
    """For each image its id map and its records."""
    content = json.loads((folder / "panoptic.json").read_text())
    for annotation in content["annotations"]:
        bgr = cv2.imread(str(folder / "panoptic" / annotation["file_name"])).astype(int)
        yield bgr @ (65536, 256, 1), annotation["segments_info"]


def hue_offset(hue, interval):
    """How far a hue lies outside an interval of the hue circle, in turns."""
    middle, half = sum(interval) / 2, (interval[1] - interval[0]) / 2
    return max(0.0, abs((hue - middle + 0.5) % 1 - 0.5) - half)


@pytest.mark.parametrize(("difficulty", "dataset", "split", "index", "names", "pixels", "colour"), GOLDEN)
def test_the_ends_draw_what_they_always_drew(difficulty, dataset, split, index, names, pixels, colour):
    scene = draw(World(difficulty=difficulty, seed=3), dataset, split, index)
    assert scene.names == tuple(names.split())
    # Another build of NumPy or OpenCV may round a border pixel otherwise.
    np.testing.assert_allclose(np.bincount(scene.segments.ravel()), pixels, atol=4)
    np.testing.assert_allclose(scene.image.mean((0, 1)), colour, atol=1)


@pytest.mark.parametrize(("number", "name"), [(0, "easy"), (0.0, "easy"), ("0", "easy"), (1, "hard"), ("1.0", "hard")])
def test_the_ends_have_names(number, name):
    assert World(difficulty=number) == World(difficulty=name)
    assert World(difficulty=number).difficulty == name


def test_between_the_ends_every_interval_goes_from_one_to_the_other():
    steps = [World(difficulty=d) for d in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)]
    assert World(difficulty="0.25") == steps[2] and steps[2].difficulty == 0.25
    for field in INTERVALS:
        values = np.array([getattr(world, field) for world in steps])
        np.testing.assert_allclose(values[3], (values[0] + values[-1]) / 2)
        assert (np.diff(values, axis=0) < 0).all(), "every one of them sinks"
    assert [world.things for world in steps] == [(1, 4), (1, 4), (1, 4), (1, 5), (1, 6), (1, 6), (1, 6)]
    assert all(type(count) is int for world in steps for count in world.things)


def test_hues_widen_and_never_leave_their_easy_interval():
    for name, easy in World().hues.items():
        widths = []
        for difficulty in (0.2, 0.5, 0.8, 0.999):
            interval = World(difficulty=difficulty).hues[name]
            widths.append(interval[1] - interval[0])
            assert all(hue_offset(hue, interval) == 0 for hue in np.linspace(*easy, 9))
        assert easy[1] - easy[0] < widths[0] < widths[1] < widths[2] < widths[3] < 1
        assert widths[3] > 0.998, "the whole circle in the end"


def test_drawn_hues_lie_in_their_interval():
    """From pixels, without what only hides the colour. The interval of the circle lies around 0."""
    plain = dict(thing_tone=0, shade=0, gradient=0, noise=0, specks=0, lines=0)
    world = World(difficulty=0.3, **plain)
    found = {"circle": [], "triangle": []}
    for index in range(60):
        scene = draw(world, "panoptic", "train", index)
        for k, name in enumerate(scene.names):
            pixels = scene.image[cv2.erode((scene.segments == k).astype(np.uint8), np.ones((5, 5))) > 0]
            if name in found and len(pixels):
                found[name].append(colorsys.rgb_to_hsv(*np.median(pixels, 0) / 255)[0])
    for name, hues in found.items():
        assert len(hues) > 20 and max(hue_offset(hue, world.hues[name]) for hue in hues) < 0.01
        beyond = [hue_offset(hue, World().hues[name]) for hue in hues]
        assert max(beyond) > 0.05, "harder than easy"


@pytest.mark.parametrize("difficulty", [-0.1, 1.1, float("nan"), True, None, "", "nan", (0.5,)])
def test_a_difficulty_that_is_none(difficulty):
    with pytest.raises(InputError, match="World: difficulty is .*; choose easy, hard or a number from 0"):
        World(difficulty=difficulty)


def test_a_world_between_is_recorded_and_recognised(tmp_path):
    counts = Counts(panoptic=1, semantic=1, boxes=1, val=1)
    root = write_world(tmp_path / "world", World(difficulty=0.25, size=32), counts, workers=1)
    assert write_world(root, World(difficulty="0.25", size=32), counts) == root
    with pytest.raises(InputError, match=r"world\.difficulty is 0\.25 and not 0\.3"):
        write_world(root, World(difficulty=0.3, size=32), counts)


def test_several_ponds():
    scenes = [draw(PONDS, "semantic", "val", index) for index in range(80)]
    ponds = [scene.names.count("pond") for scene in scenes if "pond" in scene.names]
    assert set(ponds) == {1, 2, 3} and 1.5 < np.mean(ponds) < 2.5
    for index in range(40):
        scene = draw(World(ponds=(3, 3), things=(0, 0)), "semantic", "val", index)
        middles = [np.argwhere(scene.segments == k).mean(0) for k, name in enumerate(scene.names) if name == "pond"]
        apart = [np.hypot(*(a - b)) for k, a in enumerate(middles) for b in middles[:k]]
        assert not apart or min(apart) > 0.25 * 64
    for scene in scenes:
        ground = [name for name in scene.names if name in ("grass", "sea", "sand", "pond")]
        assert tuple(ground) == scene.names[: len(ground)], "ponds lie below the things"


def test_ponds_are_things_of_the_semantic_set_and_water_of_the_panoptic_one(root):
    assert load_vocabulary("shapes_semantic").is_thing[category_id("semantic", "pond") - 1]
    assert not load_vocabulary("shapes_panoptic").is_thing[category_id("panoptic", "pond") - 1]
    several = {"panoptic": 0, "semantic": 0, "transfer": 0}
    for dataset in several:
        wet = category_id(dataset, "pond")
        for index, (_, segments) in enumerate(panoptic_truth(root / dataset / "val")):
            scene = draw(PONDS, dataset, "val", index)
            apart = [
                k
                for k, name in enumerate(scene.names)
                if name == "pond" and np.any((scene.segments == k) & ~scene.void)
            ]
            written = sum(segment["category_id"] == wet for segment in segments)
            several[dataset] += len(apart) > 1
            if dataset == "panoptic":
                assert written <= 1 and written >= bool(apart)
            else:
                assert written == len(apart)
    assert min(several.values()) > 2


def test_panoptic_truth_and_labels_of_the_semantic_set_agree(root):
    folder = root / "semantic" / "val"
    for index, (ids, segments) in enumerate(panoptic_truth(folder)):
        labels = cv2.imread(str(folder / "labels" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        category = np.zeros_like(ids)
        for segment in segments:
            category[ids == segment["id"]] = segment["category_id"]
        np.testing.assert_array_equal(category, labels)
    assert not (root / "semantic" / "train" / "panoptic.json").exists(), "training sees semantic masks alone"


def test_land_is_one_segment_whatever_grows_on_it(root):
    land, joined = category_id("transfer", "grass"), 0
    assert land == category_id("transfer", "sand") and CATEGORIES["transfer"][land - 1] == "land"
    for index, (ids, segments) in enumerate(panoptic_truth(root / "transfer" / "val")):
        scene = draw(PONDS, "transfer", "val", index)
        dry = np.isin(np.array(scene.names)[scene.segments], ("grass", "sand")) & ~scene.void
        written = [segment["id"] for segment in segments if segment["category_id"] == land]
        assert len(written) <= 1
        np.testing.assert_array_equal(np.isin(ids, written), dry)
        joined += {"grass", "sand"} <= set(scene.names)
    assert joined > 2


@pytest.mark.parametrize("dataset", ["semantic", "transfer"])
def test_the_reader_of_coco_panoptic_opens_them(root, dataset):
    vocabulary = load_vocabulary(f"shapes_{dataset}")
    source = open_source("coco_panoptic", root / dataset / "val", vocabulary, name=dataset)
    assert len(source) == 20 and not source.defects
    record = source.record(4)
    example = source.build(record, source.read_image(record), source.read_mask(record))
    scene = draw(PONDS, dataset, "val", 4)
    shown = {category_id(dataset, scene.names[k]) for k in np.unique(scene.segments[~scene.void])}
    assert {vocabulary.ids[k] for k in example.labels} == shown


def test_transfer_has_no_training_images(root):
    assert not (root / "transfer" / "train").exists()
    assert "transfer" not in dataclasses.asdict(Counts())
    assert len(list((root / "transfer" / "val" / "images").iterdir())) == 20
