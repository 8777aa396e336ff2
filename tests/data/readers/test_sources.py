"""The three readers against datasets written by hand."""

import dataclasses
import json
import pickle

import numpy as np
import pytest

from data.example import VOID
from data.formats import open_source
from data.source import spell_ids
from dataseg_jax.errors import InputError

IDS = np.array(
    [
        [0, 300, 300, 5],
        [70000, 300, 9, 5],
        [70000, 70000, 9, 9],
    ]
)
SEGMENTS = [
    {"id": 70000, "category_id": 20},
    {"id": 9, "category_id": 3, "iscrowd": 1},
    {"id": 5, "category_id": 7, "bbox": [0, 0, 1, 1]},  # A wrong box: the mask counts.
    {"id": 300, "category_id": 3},
]
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)


def opened(format, root, vocabulary, **more):
    return open_source(format, str(root), vocabulary, name="mine", **more)


def test_panoptic_example_is_exact(write, vocabulary):
    write.panoptic({4: (PIXELS, IDS, SEGMENTS)})
    example = opened("coco_panoptic", write.root, vocabulary)[0]
    np.testing.assert_array_equal(example.image, PIXELS)
    assert example.image_id == 4 and example.file == str(write.root / "images/4.png")
    np.testing.assert_array_equal(example.labels, [2, 1, 0])
    np.testing.assert_array_equal(example.boxes, [[0, 1, 2, 3], [3, 0, 4, 2], [1, 0, 3, 2]])
    np.testing.assert_array_equal(example.segments, [[-1, 2, 2, 1], [0, 2, -1, 1], [0, 0, -1, -1]])
    assert example.segments.dtype == np.int32 and example.boxes.dtype == np.float32


def test_panoptic_segment_without_pixels_is_no_target(write, vocabulary):
    write.panoptic({4: (PIXELS, IDS, [{"id": 77, "category_id": 21}, *SEGMENTS])})
    np.testing.assert_array_equal(opened("coco_panoptic", write.root, vocabulary)[0].labels, [2, 1, 0])


def test_panoptic_reads_the_official_layout(write, vocabulary):
    write.image("train2017/x.png", PIXELS)
    write.image("annotations/panoptic_train2017/y.png", np.zeros((3, 4, 3), np.uint8))
    images = [{"id": 1, "file_name": "x.png"}]
    annotations = [{"image_id": 1, "file_name": "y.png", "segments_info": []}]
    write.json("annotations/panoptic_train2017.json", {"images": images, "annotations": annotations})
    source = opened(
        "coco_panoptic",
        write.root,
        vocabulary,
        images="train2017",
        annotations="annotations/panoptic_train2017.json",
        masks="annotations/panoptic_train2017",
    )
    example = source[0]
    assert example.labels.shape == (0,) and example.boxes.shape == (0, 4)  # No target is legal.
    assert (example.segments == VOID).all()


def test_first_of_several_places_that_exists(write, vocabulary):
    write.labels({"a": (PIXELS, np.full(PIXELS.shape[:2], 3, np.uint8))})
    source = opened("label_png", write.root, vocabulary, images="images/training|images", masks="masks|labels")
    assert source.record(0).image == str(write.root / "images" / "a.png")
    refused("x does not exist", call=lambda: opened("label_png", write.root, vocabulary, images="x|y"))


@pytest.mark.parametrize("format, file", [("coco_panoptic", "panoptic.json"), ("coco_boxes", "boxes.json")])
def test_vocabulary_of_another_file(write, vocabulary, format, file):
    write.panoptic({4: (PIXELS, IDS, SEGMENTS)})
    write.boxes({4: (PIXELS, [])})
    content = json.loads((write.root / file).read_text())

    def reopened(*names):
        content["categories"] = [{"id": i, "name": n} for i, n in zip(vocabulary.ids, names, strict=False)]
        write.json(file, content)
        return opened(format, write.root, vocabulary)

    first, second = vocabulary.names[:2]
    reopened(first.upper() + " ", "other")  # Half of them: a spelling here or there may differ.
    line = f"2 of 2 categories something else: id {vocabulary.ids[0]} is 'lamp' in the file and '{first}' in the"
    refused(f"{file}: vocabulary small calls {line}", call=lambda: reopened("lamp", first))


def test_images_are_sorted_by_id_and_limited(write, vocabulary):
    write.panoptic({key: (PIXELS + np.uint8(key), IDS, SEGMENTS) for key in (30, 2, 11)})
    assert [example.image_id for example in opened("coco_panoptic", write.root, vocabulary)] == [2, 11, 30]
    two = opened("coco_panoptic", write.root, vocabulary, limit=2)
    assert [example.image_id for example in two] == [2, 11]
    np.testing.assert_array_equal(two[1].image, PIXELS + np.uint8(11))
    assert two.describe(1) == f"{write.root}/images/11.png (mine, image 11)"


def test_label_example_is_exact(write, vocabulary):
    values = np.array([[3, 3, 0, 255], [90, 21, 21, 3], [7, 7, 21, 0]], np.uint8)
    write.labels({"b": (PIXELS, values), "a": (PIXELS, np.zeros((3, 4), np.uint8))})
    source = opened("label_png", write.root, vocabulary)
    assert len(source[0].labels) == 0 and (source[0].segments == VOID).all()
    example = source[1]
    assert example.image_id == 1 and example.file == str(write.root / "images/b.png")
    np.testing.assert_array_equal(example.labels, [0, 1, 3])
    np.testing.assert_array_equal(example.segments, [[0, 0, -1, -1], [-1, 2, 2, 0], [1, 1, 2, -1]])
    np.testing.assert_array_equal(example.boxes, [[0, 0, 4, 2], [0, 2, 2, 3], [1, 1, 3, 3]])


def test_label_values_of_16_bits_and_ids_that_would_else_be_void(write, vocabulary):
    wide = dataclasses.replace(vocabulary, ids=(0, 255, 1000, 40000), ignore=(65535,))
    values = np.array([[0, 255, 1000, 40000], [65535] * 4, [0] * 4], np.uint16)
    write.labels({"a": (PIXELS, values)})
    example = opened("label_png", write.root, wide)[0]
    np.testing.assert_array_equal(example.labels, [0, 1, 2, 3])
    np.testing.assert_array_equal(example.segments, [[0, 1, 2, 3], [-1] * 4, [0] * 4])


def test_boxes_example_is_exact(write, vocabulary):
    found = [
        {"category_id": 7, "bbox": [0.5, 1, 2, 1.25]},
        {"category_id": 3, "bbox": [0, 0, 3, 3], "iscrowd": 1},
        {"category_id": 21, "bbox": [2, 1, 50, 50]},  # Cut at the edge.
        {"category_id": 3, "bbox": [1, 1, 0, 2]},
        {"category_id": 3, "bbox": [1, 1, float("nan"), 2]},
        {"category_id": 3, "bbox": [10, 1, 2, 2]},  # Outside.
    ]
    write.boxes({8: (PIXELS, found), 3: (PIXELS, [])})
    source = opened("coco_boxes", write.root, vocabulary)
    assert len(source[0].labels) == 0 and source[0].segments is None
    example = source[1]
    assert example.image_id == 8 and example.segments is None
    np.testing.assert_array_equal(example.labels, [1, 3])
    np.testing.assert_array_equal(example.boxes, np.float32([[0.5, 1, 2.5, 2.25], [2, 1, 4, 3]]))
    assert (source.crowd_boxes, source.empty_boxes) == (1, 2)


def test_sources_survive_pickling(three_datasets, vocabulary):
    for format, name in (("coco_panoptic", "pan"), ("label_png", "sem"), ("coco_boxes", "box")):
        source = opened(format, three_datasets[name], vocabulary)
        copy = pickle.loads(pickle.dumps(source))
        for before, after in zip(source, copy, strict=True):
            np.testing.assert_array_equal(before.image, after.image)
            np.testing.assert_array_equal(before.boxes, after.boxes)


def refused(line, *, call):
    with pytest.raises(InputError) as error:
        call()
    assert line in str(error.value) and "\n" not in str(error.value), str(error.value)


@pytest.mark.parametrize("missing", ["images", "panoptic", "panoptic.json"])
def test_missing_paths_name_dataset_and_path(write, vocabulary, missing):
    write.panoptic({4: (PIXELS, IDS, SEGMENTS)})
    (write.root / missing).rename(write.root / "gone")
    refused(f"{write.root}/{missing} does not exist", call=lambda: opened("coco_panoptic", write.root, vocabulary))
    refused("mine", call=lambda: opened("coco_panoptic", write.root, vocabulary))


@pytest.mark.parametrize("format", ["label_png", "coco_boxes"])
def test_missing_root_is_named(write, vocabulary, format):
    refused("nowhere", call=lambda: opened(format, write.root / "nowhere", vocabulary))


def test_unknown_formats_and_paths_a_format_does_not_use(write, vocabulary):
    refused("must be one of coco_panoptic, label_png", call=lambda: opened("coco", write.root, vocabulary))
    refused("label_png has no annotations", call=lambda: opened("label_png", ".", vocabulary, annotations="x"))
    refused("coco_boxes has no masks", call=lambda: opened("coco_boxes", ".", vocabulary, masks="x"))
    write.labels({"a": (PIXELS, IDS.astype(np.uint8))})
    refused("limit must be 0", call=lambda: opened("label_png", write.root, vocabulary, limit=-1))


def test_panoptic_id_that_the_json_lacks(write, vocabulary):
    write.panoptic({4: (PIXELS, IDS, SEGMENTS[1:])})
    source = opened("coco_panoptic", write.root, vocabulary)
    refused(f"{write.root}/panoptic/4.png: image 4: segment id 70000 is not in", call=lambda: source[0])


def test_category_that_the_vocabulary_lacks(write, vocabulary):
    write.panoptic({4: (PIXELS, IDS, [SEGMENTS[0] | {"category_id": 8}, *SEGMENTS[1:]])})
    source = opened("coco_panoptic", write.root, vocabulary)
    refused("image 4: category_id 8 is not in vocabulary small (3, 7, 20..21)", call=lambda: source[0])


def test_label_that_the_vocabulary_lacks(write, vocabulary):
    write.labels({"a": (PIXELS, np.full((3, 4), 4, np.uint8))})
    source = opened("label_png", write.root, vocabulary)
    line = "labels/a.png: label 4 is not in vocabulary small: categories are 3, 7, 20..21; void is 0, 90, 255"
    refused(line, call=lambda: source[0])


@pytest.mark.parametrize("format", ["coco_panoptic", "label_png", "coco_boxes"])
def test_sizes_that_differ(write, vocabulary, format):
    if format == "coco_panoptic":
        write.panoptic({4: (PIXELS, IDS, SEGMENTS)})
    elif format == "label_png":
        write.labels({"4": (PIXELS, np.zeros((3, 4), np.uint8))})
    else:
        write.boxes({4: (PIXELS, [])})
    write.image("images/4.png", PIXELS[:2])
    line = "4x3, but the image " + str(write.root / "images/4.png") + " is 4x2"
    refused(line, call=lambda: opened(format, write.root, vocabulary)[0])


def test_stems_that_differ(write, vocabulary):
    write.labels({stem: (PIXELS, np.zeros((3, 4), np.uint8)) for stem in "abc"})
    (write.root / "labels/b.png").unlink()
    (write.root / "images/c.png").unlink()
    line = "labels lacks 1 of 2 (for b.png, say); "
    refused(line, call=lambda: opened("label_png", write.root, vocabulary))
    refused("images lacks 1 of 2 (for c.png, say)", call=lambda: opened("label_png", write.root, vocabulary))


def test_stems_that_two_images_share(write, vocabulary):
    write.labels({"a": (PIXELS, np.zeros((3, 4), np.uint8))})
    write.image("images/a.jpg", PIXELS)
    refused("a.jpg and a.png share a stem", call=lambda: opened("label_png", write.root, vocabulary))


def test_folders_without_images(write, vocabulary):
    (write.root / "images").mkdir()
    (write.root / "labels").mkdir()
    refused("holds no image", call=lambda: opened("label_png", write.root, vocabulary))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d: d.pop("images"), 'has no list "images"'),
        (lambda d: d["images"].clear(), "lists no usable image"),
        (lambda d: d["images"][0].pop("file_name"), "image number 0: KeyError: 'file_name'; each needs"),
        (lambda d: d["images"][0].update(id="4"), "image number 0: TypeError: image id '4' is no integer"),
        (lambda d: d["images"][0].update(id=2**40), "does not fit into 32 bits"),
        (lambda d: d["annotations"].insert(0, "x"), "annotation number 0: TypeError"),
        (lambda d: d["annotations"][0].pop("bbox"), "annotation number 0: KeyError: 'bbox'; each needs"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "annotation number 0: ValueError"),
        (lambda d: d["annotations"][0].update(category_id=None), "annotation number 0: TypeError"),
    ],
)
def test_malformed_json(write, vocabulary, change, line):
    write.boxes({4: (PIXELS, [{"category_id": 7, "bbox": [0, 0, 1, 1]}])})
    content = json.loads((write.root / "boxes.json").read_text())
    change(content)
    path = write.json("boxes.json", content)
    refused(f"{path}: ", call=lambda: opened("coco_boxes", write.root, vocabulary))
    refused(line, call=lambda: opened("coco_boxes", write.root, vocabulary))


def test_json_that_is_none(write, vocabulary):
    write.boxes({4: (PIXELS, [])})
    (write.root / "boxes.json").write_text('{"images": [')
    refused("cannot be read as JSON", call=lambda: opened("coco_boxes", write.root, vocabulary))


def test_ids_are_spelled_as_ranges():
    assert spell_ids([5, 1, 2, 3, 9, 10]) == "1..3, 5, 9..10"
    assert spell_ids(range(0, 40, 2), most=3) == "0, 2, 4, ..."
