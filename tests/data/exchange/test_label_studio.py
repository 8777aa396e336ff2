"""Exports of Label Studio: answers there and back, regions against loops and OpenCV, and files of strangers."""

import copy
import functools
import json
import operator
import os
import random

import cv2
import numpy as np
import pytest
from PIL import Image

from data.exchange.__main__ import main
from data.exchange.images import find_image
from data.exchange.label_studio import read_export, to_coco
from data.formats import open_source
from data.formats.recognise import recognise
from dataseg_jax.errors import InputError
from dataseg_jax.results.exchange import label_studio
from dataseg_jax.text import Vocabulary
from tests.dataseg_jax.results.answers import BOXES, LABELS, MASKS, instances
from tests.messages import one_line

NAMES = ("cat", "dog")


@pytest.fixture
def folder(tmp_path):
    """Two images; the second lies in a folder."""
    for name in ("a.png", "cam 1/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path / "images"


def exported(*tasks):
    """As Label Studio exports predictions that were accepted."""
    return [
        {"id": 70 + n, "data": task["data"], "predictions": [], "annotations": [
            {"id": n, "was_cancelled": False, "result": task["predictions"][0]["result"]}
        ]}
        for n, task in enumerate(tasks)
    ]  # fmt: skip


def task_of(answer, name="a.png", shapes="brush"):
    return label_studio.task(answer, label_studio.address_of(name), shapes)


def written(folder, content):
    path = folder.parent / "export.json"
    path.write_text(json.dumps(content))
    return str(path)


def converted(folder, content, *flags):
    path, out = written(folder, content), folder.parent / "instances.json"
    return main([f"--export={path}", f"--images={folder}", f"--out={out}", *flags])


def region(kind, value, label="cat", **fields):
    return {"type": kind, "original_width": 30, "original_height": 20, "value": {**value, kind: [label]}, **fields}


def one_task(*regions, image="a.png"):
    return [{"data": {"image": image}, "annotations": [{"result": list(regions)}]}]


def test_masks_of_a_brush_are_there_and_back(folder, capsys):
    assert converted(folder, exported(task_of(instances()), task_of(instances(), "cam 1/b.png"))) == 0
    said = capsys.readouterr().out
    assert "2 images, 6 annotations of 2 categories" in said and "left out" not in said
    vocabulary = Vocabulary("v", NAMES, (True, True), (1, 2))
    source = open_source("coco_instances", str(folder.parent), vocabulary, name="back")
    for example in (source[0], source[1]):
        assert example.labels.tolist() == list(LABELS)
        np.testing.assert_array_equal(np.asarray(list(example.masks)), MASKS)
    assert recognise(str(folder.parent))[0].format == "coco_instances"


def test_boxes_are_there_and_back(folder, capsys):
    assert converted(folder, exported(task_of(instances("detection")))) == 0
    assert "--format=coco_boxes" in capsys.readouterr().out
    vocabulary = Vocabulary("v", NAMES, (True, True), (1, 2))
    source = open_source("coco_boxes", str(folder.parent), vocabulary, name="back", annotations="instances.json")
    np.testing.assert_allclose(source[0].boxes, BOXES, atol=1e-4)
    assert recognise(str(folder.parent))[0].format == "coco_boxes"
    assert converted(folder, exported(task_of(instances("detection"))), "--rectangles=fill") == 0
    assert "--format=coco_instances" in capsys.readouterr().out


def test_shapes_are_those_that_opencv_draws(folder):
    """At 40 times the resolution, where whole pixels do not matter."""
    turned = {"x": 40, "y": 30, "width": 30, "height": 20, "rotation": 30}
    ellipse = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 40, "rotation": 20}
    points = [[10, 10], [90, 20], [50, 95]]
    content = one_task(
        region("rectanglelabels", turned), region("ellipselabels", ellipse), region("polygonlabels", {"points": points})
    )
    (image,) = read_export(written(folder, content), str(folder)).images
    found = []
    for shape in image.regions:
        canvas = np.zeros((800, 1200), np.uint8)
        found.append(cv2.fillPoly(canvas, [np.round(shape.polygon * 40).astype(int)], 1))
    # Clockwise around the upper left corner, which is at (12, 6) pixels; OpenCV turns around the centre.
    turn = np.deg2rad(30)
    centre = np.array([12, 6]) + [4.5 * np.cos(turn) - 2 * np.sin(turn), 4.5 * np.sin(turn) + 2 * np.cos(turn)]
    corners = cv2.boxPoints(((centre * 40).tolist(), (9 * 40, 4 * 40), 30))
    expected = [
        cv2.fillPoly(np.zeros((800, 1200), np.uint8), [np.round(corners).astype(int)], 1),
        cv2.ellipse(np.zeros((800, 1200), np.uint8), (600, 400), (240, 320), 20, 0, 360, 1, -1),
        cv2.fillPoly(np.zeros((800, 1200), np.uint8), [(np.array(points) * [12, 8]).astype(int)], 1),
    ]
    for drawn, right in zip(found, expected, strict=True):
        assert (drawn & right).sum() > 0.99 * (drawn | right).sum()


def test_what_is_no_object_is_left_out_and_counted(folder, capsys):
    box = region("rectanglelabels", {"x": 10, "y": 10, "width": 50, "height": 50})
    unlabelled = copy.deepcopy(box)
    del unlabelled["value"]["rectanglelabels"]
    flat = region("rectanglelabels", {"x": 10, "y": 10, "width": 0, "height": 50})
    dot = region("polygonlabels", {"points": [[5, 5]]})
    content = one_task(box, unlabelled, flat, dot, {"type": "choices", "value": {}})
    content[0]["annotations"] = [{"result": []}, *content[0]["annotations"], {"was_cancelled": True, "result": [{}]}]
    content.append({"data": {"image": "/data/local-files/?d=x/cam%201/b.png"}, "annotations": [{"result": []}]})
    content.append({"data": {"image": "nowhere.png"}, "annotations": []})
    assert converted(folder, content) == 0
    said = capsys.readouterr().out
    assert "2 images, 1 annotations of 1 categories" in said
    assert "1 earlier annotations" in said and "1 tasks without an annotation" in said
    assert "3 regions without a label or a pixel" in said and "1 results that are no such region" in said


def test_labels_and_rectangles_beside_masks(folder):
    box = region("rectanglelabels", {"x": 10, "y": 10, "width": 50, "height": 50}, "dog")
    content = one_task(box, region("polygonlabels", {"points": [[0, 0], [50, 0], [0, 50]]}))
    export = read_export(written(folder, content), str(folder))
    one_line(lambda: to_coco(export), "1 of 2 regions are rectangles", "--rectangles=fill", "--rectangles=drop")
    filled, form = to_coco(export, ("dog", "bird", "cat"), "fill")
    assert form == "coco_instances" and [entry["category_id"] for entry in filled["annotations"]] == [1, 3]
    assert filled["annotations"][0]["bbox"] == [3, 2, 15, 10]
    assert [entry["name"] for entry in filled["categories"]] == ["dog", "bird", "cat"]
    dropped, _ = to_coco(export, (), "drop")
    assert [entry["category_id"] for entry in dropped["annotations"]] == [1]
    one_line(lambda: to_coco(export, ("cat",), "drop"), "label 'dog'", "--labels")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=a.png", "a.png"),
        ("/data/local-files/?d=more/cam%201/b.png", "cam 1/b.png"),
        ("/data/upload/3/0123abcd-a.png", "a.png"),
        ("s3://bucket/images/cam 1/b.png", "cam 1/b.png"),
        ("https://host/x/a.png?size=3", "a.png"),
        ("a.png", "a.png"),
    ],
)
def test_addresses_lead_to_files(folder, address, name):
    assert find_image(address, str(folder), "here") == name


@pytest.mark.parametrize(
    "address",
    [None, 3, "", "b.png", "../images/a.png", "/data/local-files/?d=../../etc/passwd", "%2e%2e/images/a.png", "a\0.png",
     "a" * 5000, "data:image/png;base64,AAAA", "\ud800.png", "cam 1/..", "cam 1"],
)  # fmt: skip
def test_addresses_of_nothing_are_refused(folder, address):
    one_line(lambda: find_image(address, str(folder), "x.json: task number 3"), "x.json: task number 3: ")


def test_a_link_out_of_the_folder_is_refused(folder):
    (folder.parent / "secret.png").write_bytes((folder / "a.png").read_bytes())
    os.symlink(folder.parent / "secret.png", folder / "link.png")
    one_line(lambda: find_image("link.png", str(folder), "here"), "leads to")


POLYGON = region("polygonlabels", {"points": [[0, 0], [50, 0], [0, 50]]})


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({}, "is a list of tasks"),
        ([3], "without data"),
        ([{"image": "a.png", "label": []}], "JSON-MIN"),
        ([{"data": {}, "annotations": [{"result": []}]}], "its image is None"),
        ([{"data": {"image": "a.png"}, "annotations": {}}], "its annotations are {}"),
        ([{"data": {"image": "a.png"}, "annotations": [{}]}], "its result is None"),
        ([{"data": {"image": "a.png"}, "annotations": [{"result": [3]}]}], "its result is [3]"),
        (one_task(POLYGON) * 2, "as task number 0 is"),
        (one_task(), "no region with a label"),
        (one_task(POLYGON | {"value": 3}), "its value is 3"),
        (one_task(POLYGON | {"original_width": 31}), "drawn on an image of 20 x 31"),
        (one_task(POLYGON | {"image_rotation": 90}), "image_rotation is 90"),
        (one_task(region("polygonlabels", {"points": 3})), "its points are 3"),
        (one_task(region("polygonlabels", {"points": [[1, 2, 3]]})), "a list of [x, y]"),
        (one_task(region("polygonlabels", {"points": [[0, "0"]] * 3})), "a point is '0'"),
        (one_task(region("polygonlabels", {"points": [[0, float("nan")]] * 3})), "a point is nan"),
        (one_task(region("polygonlabels", {"points": [[0, 10**400]] * 3})), "a point is "),
        (one_task(region("polygonlabels", {"points": [[0, 0], [9e5, 0], [0, 9e5]]})), "far outside"),
        (one_task(region("rectanglelabels", {"x": 1, "y": 1, "width": True, "height": 1})), "its width is True"),
        (one_task(region("ellipselabels", {"x": 1, "y": 1, "radiusX": 1})), "its radiusY is None"),
        (one_task(region("brushlabels", {})), "its rle is None"),
        (one_task(region("brushlabels", {"rle": [0] * 20})), "an image of 30x20"),
        (one_task(POLYGON | {"value": {"points": [], "polygonlabels": ["a", "b"]}}), "has one label"),
        (one_task(POLYGON | {"value": {"points": [], "polygonlabels": ["a"]}}), "no region with a label"),
        (one_task(POLYGON | {"value": {"polygonlabels": ["a\nb"]}}), "printable"),
    ],
)
def test_damage_is_one_line_and_status_2(folder, capsys, content, part):
    assert converted(folder, content) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and part in error
    assert not (folder.parent / "instances.json").exists()


STRANGE = [
    None,
    True,
    -1,
    2**31,
    10**30,
    1e308,
    float("nan"),
    "",
    "../x",
    "\ud800",
    "a\0",
    [],
    {},
    [[]],
    [None],
    [0] * 8,
]


def places(value, path=()):
    """Paths to everything in a JSON value but itself; of long lists to the first entries."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:40]) if isinstance(value, list) else ()
    for key, part in inside:
        yield (*path, key)
        yield from places(part, (*path, key))


def test_random_damage_is_read_or_refused_in_one_line(folder):
    shapes = [
        POLYGON,
        region("rectanglelabels", {"x": 1, "y": 2, "width": 30, "height": 20, "rotation": 30}),
        region("ellipselabels", {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 3}),
    ]
    whole = exported(task_of(instances())) + one_task(*shapes, image="cam 1/b.png")
    everywhere, draws, refused = list(places(whole)), random.Random(0), 0
    for _ in range(400):
        damaged = copy.deepcopy(whole)
        *above, last = draws.choice(everywhere)
        holder = functools.reduce(operator.getitem, above, damaged)
        if draws.random() < 0.3:
            del holder[last]
        else:
            holder[last] = draws.choice(STRANGE)
        try:
            to_coco(read_export(written(folder, damaged), str(folder)), (), "fill")
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 400


def test_flags_that_lead_nowhere(folder, capsys):
    path = written(folder, one_task(POLYGON))
    out = f"--out={folder.parent / 'no' / 'x.json'}"
    for flags, part in (
        ([f"--export={path}", "--images=nowhere", out], "no such folder"),
        (["--export=nowhere.json", f"--images={folder}", out], "no such file"),
        ([f"--export={folder / 'a.png'}", f"--images={folder}", out], "cannot be read as JSON"),
        ([f"--export={path}", f"--images={folder}", out], "cannot be written"),
        ([f"--export={path}", f"--images={folder}", out, "--labels=a, a"], "twice"),
        (["--export=s3://x/y", f"--images={folder}", out], "s3:// is not supported"),
    ):
        assert main(flags) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and part in error
