"""SA-1B's files: there and back, and what a stranger's file may not hold."""

import copy
import json

import numpy as np
import pytest
from pycocotools import mask as coco

from dataseg_jax.results import rle, sa1b
from tests.messages import one_line

MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


def made(mode="binary_mask", size=(20, 31), count=5, seed=0):
    """Records of random masks, and these."""
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *size)) < np.linspace(0, 1, count)[:, None, None]
    return [
        {
            "segmentation": sa1b.segmentation(rle.runs(mask, (0, 0), size), size, mode),
            "area": int(mask.sum()),
            "bbox": [int(v) for v in rng.integers(0, 9, 4)],
            "predicted_iou": float(rng.random()),
            "point_coords": [rng.random(2).tolist()],
            "stability_score": float(rng.random()),
            "crop_box": [0, 0, size[1], size[0]],
        }
        for mask in masks
    ], masks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("back", MODES)
def test_there_and_back(mode, back):
    records, masks = made(mode)
    text = json.dumps(sa1b.document(records, 7, "a.jpg", (20, 31), first_id=100))
    image, found = sa1b.records(json.loads(text), "a.json", back)
    assert image == {"image_id": 7, "width": 31, "height": 20, "file_name": "a.jpg"}
    assert [record.pop("id") for record in found] == [100, 101, 102, 103, 104]
    for record, expected, mask in zip(found, made(back)[0], masks, strict=True):
        segmentation, wanted = record.pop("segmentation"), expected.pop("segmentation")
        assert record == expected
        assert np.array_equal(segmentation, wanted) if back == "binary_mask" else segmentation == wanted
        if back == "coco_rle":
            assert (coco.decode(segmentation) == mask).all()


def test_it_is_what_sa_1b_has():
    document = sa1b.document(made()[0], 7, "a.jpg", (20, 31))
    assert list(document) == ["image", "annotations"]
    fields = {"id", "segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"}
    assert all(set(annotation) == fields for annotation in document["annotations"])
    assert all(type(annotation["segmentation"]["counts"]) is str for annotation in document["annotations"])


def test_runs_of_length_0_are_read_as_other_programs_read_them():
    document = sa1b.document(made(count=1)[0], 7, "a.jpg", (20, 31))
    document["annotations"][0]["segmentation"]["counts"] = [10, 0, 5, 20, 0, 3, 582]
    for mode in MODES:
        _, (record,) = sa1b.records(document, "a.json", mode)
        wanted = sa1b.segmentation([15, 23, 582], (20, 31), mode)
        assert np.array_equal(record["segmentation"], wanted) if mode == MODES[0] else record["segmentation"] == wanted


def test_a_mask_of_another_size_is_not_written():
    one_line(lambda: sa1b.document(made()[0], 7, "a.jpg", (20, 30)), "record 0: its mask is [20, 31]", "[20, 30]")


def counts(value):
    return lambda d: d["annotations"][1]["segmentation"].update(counts=value)


def field(name, value):
    return lambda d: d["annotations"][1].update({name: value})


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda d: d.pop("image"), "f.json: image is None; it must be an object"),
        (lambda d: d.update(annotations={}), "f.json: annotations is {}; it must be a list"),
        (lambda d: d["image"].update(width="9"), "f.json: the image's width '9' is no integer"),
        (lambda d: d["image"].update(height=0), "f.json: the image's height 0 must be between 1 and"),
        (lambda d: d["image"].update(width=10**9), "f.json: the image is 1000000000x20; it may have 268435456 pixels"),
        (lambda d: d["image"].pop("image_id"), "f.json: image_id None is no integer"),
        (lambda d: d["annotations"].insert(1, 3), "f.json: annotation 1: segmentation is None; it must be an object"),
        (field("segmentation", [[1, 2, 3, 4, 5, 6]]), "annotation 1: segmentation is [[1, 2, 3, 4, 5, 6]]"),
        (lambda d: d["annotations"][1]["segmentation"].update(size=[31, 20]), "annotation 1: its RLE is of size [31"),
        (counts("~~~"), "annotation 1: the counts of its RLE are empty or hold characters"),
        (counts("é"), "annotation 1: the counts of its RLE are 'é'; they must be text or run lengths"),
        (counts([1, -1]), "annotation 1: the counts of its RLE are [1, -1]"),
        (counts([]), "annotation 1: the counts of its RLE are []"),
        (counts([10**30]), "annotation 1: the counts of its RLE are"),
        (counts([1, 2]), "annotation 1: the counts of its RLE must be at least 0 and sum to the image's 620"),
        (counts("0O"), "annotation 1: the counts of its RLE must be at least 0"),
        (counts(None), "annotation 1: the counts of its RLE are None"),
        (field("id", 1.5), "annotation 1: its id 1.5 is no integer"),
        (field("area", -1), "annotation 1: its area -1 must be between 0 and 620"),
        (field("bbox", [1, 2, 3]), "annotation 1: its bbox is [1, 2, 3]; it must be a list of 4 numbers"),
        (field("crop_box", [1, 2, 3, float("inf")]), "annotation 1: its crop_box is [1, 2, 3, inf]"),
        (field("predicted_iou", float("nan")), "annotation 1: its predicted_iou is nan; it must be a number"),
        (field("stability_score", True), "annotation 1: its stability_score is True; it must be a number"),
        (field("point_coords", [[1]]), "a point of its point_coords is [1]; it must be a list of 2 numbers"),
        (field("point_coords", 5), "annotation 1: point_coords is 5; it must be a list"),
    ],
)
def test_files_that_cannot_be_used(damage, said):
    document = copy.deepcopy(sa1b.document(made()[0], 7, "a.jpg", (20, 31)))
    damage(document)
    one_line(lambda: sa1b.records(document, "f.json"), "f.json", said)
    one_line(lambda: sa1b.records([document], "f.json"), "f.json: image is None")
