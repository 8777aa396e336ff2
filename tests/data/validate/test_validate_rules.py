"""Wrong masks and boxes: every rule finds what it is for, names file and record, and leaves sound datasets alone."""

import numpy as np
import pytest
from PIL import Image

from tests.data.validate.damage import (
    HEIGHT,
    IDS,
    LABELS,
    WIDTH,
    WRITERS,
    Damage,
    assert_only_problem,
    edit_boxes,
    edit_panoptic,
    one_box,
    panoptic,
    validated,
)


def palette(write):
    content = Image.open(write.root / "panoptic/2.png").convert("P")
    colours = np.array(content.getpalette()).reshape(-1, 3)
    colours[:, 1] = 9
    content.putpalette(colours.reshape(-1).tolist())
    content.save(write.root / "panoptic/2.png")


MASKS = [
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1]["segments_info"].pop()),
        "panoptic/2.png",
        "image 2",
        "segment ids 70000 of the PNG are not in",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1]["segments_info"].append({"id": 8, "category_id": 3})),
        "panoptic.json",
        "image 2",
        "segment ids 8 have no pixel in",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1]["segments_info"].append({"id": 1, "category_id": 20})),
        "panoptic.json",
        "image 2",
        "segment ids 1 are listed more than once",
    ),
    Damage(
        "coco_panoptic",
        lambda write: write.image("panoptic/2.png", IDS.astype(np.uint8)),
        "panoptic/2.png",
        "image 2",
        "a panoptic PNG holds its ids in 8-bit RGB, this is uint8 with 1 channel",
    ),
    Damage(
        "coco_panoptic",
        lambda write: write.image("panoptic/2.png", (IDS % 256).astype(np.uint16)),
        "panoptic/2.png",
        "image 2",
        "this is uint16 with 1 channel",
    ),
    Damage(
        "coco_panoptic",
        lambda write: (
            Image.open(write.root / "panoptic/2.png").crop((0, 0, 47, 32)).save(write.root / "panoptic/2.png")
        ),
        "panoptic/2.png",
        "image 2",
        "the mask is 47x32, but the image",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1]["segments_info"][0].update(category_id=5)),
        "panoptic.json",
        "image 2",
        "category_id 5 is not in vocabulary small (3, 7, 20..21)",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1]["segments_info"][0].update(iscrowd=1)),
        "panoptic.json",
        "image 2",
        "marks stuff (grass, category_id 20) as a crowd",
        fatal=False,
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["images"][1].update(height=9, width=6)),
        "panoptic.json",
        "image 2",
        "the file states 6x9, but the image",
        fatal=False,
    ),
    Damage(
        "coco_panoptic",
        lambda write: (
            write.image("panoptic/2.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
            edit_panoptic(lambda c: c["annotations"][1].update(segments_info=[]))(write),
        ),
        "panoptic/2.png",
        "image 2",
        "all pixels are void",
        fatal=False,
    ),
    Damage(
        "label_png",
        lambda write: write.image("labels/b.png", np.where(LABELS == 7, 5, LABELS).astype(np.uint8)),
        "labels/b.png",
        "image 1",
        "label 5 is not in vocabulary small: categories are 3, 7, 20..21; void is 0, 90, 255",
    ),
    Damage(
        "label_png",
        lambda write: write.image("labels/b.png", np.full((HEIGHT, WIDTH), 300, np.uint16)),
        "labels/b.png",
        "image 1",
        "label 300 is not in vocabulary small",
    ),
    Damage(
        "label_png",
        lambda write: write.image("labels/b.png", np.full((HEIGHT, WIDTH), 255, np.uint8)),
        "labels/b.png",
        "image 1",
        "all pixels are void",
        fatal=False,
    ),
]

BOXES = [
    Damage("coco_boxes", one_box([1, 1, 0, 2]), "boxes.json", "image 2", "box [1, 1, 0, 2] has no area", False),
    Damage("coco_boxes", one_box([9, 1, -3, 2]), "boxes.json", "image 2", "has no area and is dropped", False),
    Damage("coco_boxes", one_box([float("nan"), 1, 3, 2]), "boxes.json", "image 2", "is not finite", False),
    Damage("coco_boxes", one_box([1, 1, float("inf"), 2]), "boxes.json", "image 2", "is not finite", False),
    Damage("coco_boxes", one_box([50, 1, 2, 2]), "boxes.json", "image 2", "lies outside of the 48x32 image", False),
    Damage("coco_boxes", one_box([-5, 1, 2, 2]), "boxes.json", "image 2", "lies outside", False),
    Damage("coco_boxes", one_box([40, 1, 9.5, 2]), "boxes.json", "image 2", "reaches over the edge", False),
    Damage("coco_boxes", one_box([-1.5, 0, 5, 2]), "boxes.json", "image 2", "reaches over the edge", False),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["annotations"][2].update(category_id=4)),
        "boxes.json",
        "image 2",
        "category_id 4 is not in vocabulary small (3, 7, 20..21)",
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["images"][1].update(width=50)),
        "boxes.json",
        "image 2",
        "the file states 50x32, but the image",
    ),
]


@pytest.mark.parametrize("damage", MASKS + BOXES)
def test_damage_is_named(write, vocabulary, damage):
    assert_only_problem(write, vocabulary, damage)


@pytest.mark.parametrize("format", WRITERS)
def test_sound_datasets_have_no_problem(write, vocabulary, format):
    WRITERS[format](write)
    report = validated(format, write, vocabulary)
    assert report.problems == [] and report.survey.notes == ()
    assert report.images == report.survey.summary.images == 3


def test_a_palette_that_changes_ids(write, vocabulary):
    panoptic(write)
    palette(write)
    problems = validated("coco_panoptic", write, vocabulary).problems
    assert {(problem.file, problem.record) for problem in problems} == {
        (str(write.root / "panoptic/2.png"), "image 2"),
        (str(write.root / "panoptic.json"), "image 2"),
    }
    assert "the PNG has a palette" in problems[0].rule


def test_a_palette_that_keeps_ids_is_a_note(write, vocabulary):
    panoptic(write)
    Image.open(write.root / "panoptic/2.png").quantize(8).save(write.root / "panoptic/2.png")
    survey = validated("coco_panoptic", write, vocabulary).survey
    assert survey.problems == () and survey.notes[0].record == "image 2"
    assert "panoptic PNG with a palette" in survey.notes[0].rule
