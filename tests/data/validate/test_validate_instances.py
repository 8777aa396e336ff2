"""Wrong masks in a COCO instances JSON: each is named, several of one image too."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from tests.data.validate.damage import HEIGHT, WIDTH, change, pixels, validated

SQUARE = [[3, 3, 20, 3, 20, 20, 3, 20]]


def compressed(mask):
    code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


@pytest.fixture
def instances(write):
    """Images 1 to 3 with a polygon and an overlapping RLE each."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:25, 10:40] = True
    found = [
        {"category_id": 3, "bbox": [3, 3, 17, 17], "segmentation": SQUARE},
        {"category_id": 7, "bbox": [10, 5, 30, 20], "segmentation": compressed(mask)},
    ]
    write.boxes({key: (pixels(key), found) for key in (1, 2, 3)})
    (write.root / "boxes.json").rename(write.root / "instances.json")
    change(write, "instances.json", lambda c: [a.update(id=place) for place, a in enumerate(c["annotations"])])
    return write


def test_sound_instances_have_no_problem(instances, vocabulary):
    report = validated("coco_instances", instances, vocabulary)
    assert report.problems == [] and report.survey.summary.targets == 6
    assert report.survey.summary.pixels_of[1] == 3 * 20 * 30


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 1, 5, 5]],
        [[1, 1, 5, 5, 9]],
        [],
        None,
        "polygon",
        {"size": [HEIGHT, WIDTH], "counts": [5, 5]},
        {"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]},
        {"size": [HEIGHT, WIDTH], "counts": "??"},
        {"size": [HEIGHT, WIDTH]},
    ],
)
def test_shapes_that_are_none(instances, vocabulary, segmentation):
    change(instances, "instances.json", lambda c: c["annotations"][2].update(segmentation=segmentation))
    change(instances, "instances.json", lambda c: c["annotations"][3].update(segmentation=[[1, 1]]))
    problems = validated("coco_instances", instances, vocabulary).problems
    assert [(p.file, p.record, p.fatal) for p in problems] == [
        (str(instances.root / "instances.json"), "image 2", True)
    ] * 2
    assert "annotation 0 of the image (category_id 3)" in problems[0].rule
    assert "annotation 1 of the image (category_id 7)" in problems[1].rule
