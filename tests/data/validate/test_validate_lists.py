"""Wrong lists: what the annotation file, or the folders, get wrong as a whole."""

import pytest

from tests.data.validate.damage import (
    Damage,
    assert_only_problem,
    boxes,
    change,
    edit_boxes,
    edit_panoptic,
    one_box,
    pixels,
    validated,
)


def listed(*ids):
    names = {3: "cat", 7: "dog", 20: "grass", 21: "sky"}
    return [{"id": key, "name": names[key]} for key in ids]


LISTS = [
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["images"].append(c["images"][1])),
        "boxes.json",
        "image 2",
        "image id is listed more than once",
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["annotations"][3].update(id=2)),
        "boxes.json",
        "annotation id 2",
        "is used more than once",
        fatal=False,
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["annotations"][3].update(image_id=9)),
        "boxes.json",
        "image 9",
        "has annotations, but is not in the list of images",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"].append(c["annotations"][1])),
        "panoptic.json",
        "image 2",
        "is annotated more than once",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"].pop(1)),
        "panoptic.json",
        "image 2",
        "has no annotation, so the image is left out",
        fatal=False,
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c.update(categories=[{"id": 20, "name": "grass", "isthing": 1}, *listed(3, 21)])),
        "panoptic.json",
        "category 20",
        "'grass' is a thing in the file and stuff in vocabulary small",
        fatal=False,
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c.update(categories=[*listed(3, 7, 20, 21), *listed(7)])),
        "boxes.json",
        "category 7",
        "category id is listed more than once",
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c.update(categories=listed(3, 20, 21))),
        "boxes.json",
        "image 1",
        "category_id 7 is not in the file's own list of categories",
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c.update(categories=[*listed(3, 7), {"id": 4, "name": "cow"}])),
        "boxes.json",
        "",
        "lists categories that vocabulary small lacks: ids 4",
        fatal=False,
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c.update(categories=[{"id": 3, "name": "bus"}, {"id": 7, "name": "tram"}])),
        "boxes.json",
        "",
        "vocabulary small calls 2 of 2 categories something else: id 3 is 'bus' in the file and 'cat'",
    ),
    Damage("coco_boxes", one_box([1, 1, 2]), "boxes.json", "annotation number 2", "not enough values to unpack"),
    Damage("coco_boxes", edit_boxes(lambda c: c.pop("images")), "boxes.json", "", 'has no list "images"'),
    Damage("coco_boxes", lambda write: write.json("boxes.json", [1]), "boxes.json", "", 'has no list "images"'),
    Damage(
        "coco_boxes",
        lambda write: (write.root / "boxes.json").write_text('{"images": ['),
        "boxes.json",
        "",
        "cannot be read as JSON",
    ),
    Damage(
        "coco_boxes",
        edit_boxes(lambda c: c["images"][1].pop("file_name")),
        "boxes.json",
        "image number 1",
        "each needs an integer id and a file_name",
    ),
    Damage(
        "coco_panoptic",
        edit_panoptic(lambda c: c["annotations"][1].update(segments_info=None)),
        "panoptic.json",
        "annotation number 1",
        "each needs image_id, file_name and segments_info",
    ),
    Damage("coco_boxes", edit_boxes(lambda c: c.update(images=[])), "boxes.json", "", "lists no usable image"),
    Damage("label_png", lambda write: (write.root / "labels/b.png").unlink(), "", "", "lacks 1 of 3 (for b.png, say)"),
    Damage("label_png", lambda write: (write.root / "images/b.png").unlink(), "", "", "lacks 1 of 3 (for b.png, say)"),
    Damage("label_png", lambda write: (write.root / "labels").rename(write.root / "l"), "", "", "does not exist"),
    Damage(
        "label_png",
        lambda write: write.image("images/b.jpg", pixels(8)),
        "images",
        "",
        "b.jpg and b.png share a stem",
    ),
]


@pytest.mark.parametrize("damage", LISTS)
def test_damage_is_named(write, vocabulary, damage):
    assert_only_problem(write, vocabulary, damage)


def test_one_image_of_two_images(write, vocabulary):
    boxes(write)
    change(write, "boxes.json", lambda c: c["images"][1].update(file_name="1.png"))
    report = validated("coco_boxes", write, vocabulary)
    rules = {problem.rule for problem in report.problems}
    assert "has the file_name '1.png' of image 1" in rules
    assert {(problem.record, problem.fatal) for problem in report.problems} == {("image 2", False)}


def test_every_malformed_entry_is_named(write, vocabulary):
    boxes(write)

    def edit(content):
        content["annotations"][1] = 17
        content["annotations"][2].update(bbox="1 2 3 4")
        content["annotations"][4].update(category_id="3")
        del content["annotations"][5]["image_id"]
        content["images"][2].update(file_name=5)

    change(write, "boxes.json", edit)
    problems = validated("coco_boxes", write, vocabulary).problems
    assert {problem.file for problem in problems} == {str(write.root / "boxes.json")}
    assert {problem.record for problem in problems} == {
        "annotation number 1",
        "annotation number 2",
        "annotation number 4",
        "annotation number 5",
        "image number 2",
    }
