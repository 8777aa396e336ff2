"""Every rule finds what it is for, names file and record, and leaves sound datasets alone."""

import json

import numpy as np
import pytest

from data import validate
from data.records import Problem
from data.sources import open_source
from data.validate import check, require_sound, survey
from dataseg_jax.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
IDS = np.array([[1, 1, 1, 2, 2, 2]] * 2 + [[0, 0, 70000, 70000, 0, 0]] * 2)
SEGMENTS = [
    {"id": 1, "category_id": 20},
    {"id": 2, "category_id": 20},
    {"id": 70000, "category_id": 3},
]
SOUND = (PIXELS, IDS, SEGMENTS)


def opened(format, write, vocabulary):
    return open_source(format, str(write.root), vocabulary, name="mine")


def found(format, write, vocabulary) -> list[Problem]:
    return check(opened(format, write, vocabulary), vocabulary)


def only(problems, file, record, rule, fatal=True):
    """Checks that there is one problem, and what it says."""
    assert len(problems) == 1, problems
    problem = problems[0]
    assert str(file) in str(problem) and problem.record == record and problem.fatal == fatal
    assert rule in problem.rule and "\n" not in str(problem)


def change_json(write, name, change):
    content = json.loads((write.root / name).read_text())
    change(content)
    return write.json(name, content)


def test_sound_datasets_have_no_problem(three_datasets, vocabulary):
    for format, name in (("coco_panoptic", "pan"), ("label_png", "sem"), ("coco_boxes", "box")):
        assert check(open_source(format, str(three_datasets[name]), vocabulary, name=name), vocabulary) == []


def test_summary_counts_targets(write, vocabulary):
    write.panoptic({1: SOUND, 2: (PIXELS, IDS * 0, []), 3: (PIXELS, IDS, [SEGMENTS[0], SEGMENTS[1], SEGMENTS[0]][:2])})
    write.picture("panoptic/3.png", np.stack([IDS % 3, IDS * 0, IDS * 0], -1).astype(np.uint8))
    problems, summary = survey(opened("coco_panoptic", write, vocabulary), vocabulary)
    assert problems == []
    assert summary == validate.Summary(
        pictures=3,
        without_targets=1,
        targets=5,
        most_targets=3,
        classes=frozenset({0, 2}),
        united_panoptic=2,
        united_semantic=2,
    )


def test_missing_picture(write, vocabulary):
    write.panoptic({1: SOUND, 2: SOUND})
    (write.root / "images/2.png").unlink()
    only(found("coco_panoptic", write, vocabulary), write.root / "images/2.png", "image 2", "no such file")


def test_missing_mask(write, vocabulary):
    write.panoptic({1: SOUND, 2: SOUND})
    (write.root / "panoptic/1.png").unlink()
    only(found("coco_panoptic", write, vocabulary), write.root / "panoptic/1.png", "image 1", "no such file")


@pytest.mark.parametrize("file", ["images/b.png", "labels/b.png"])
def test_undecodable_files(write, vocabulary, file):
    write.labels({stem: (PIXELS, np.full((4, 6), 3, np.uint8)) for stem in "ab"})
    (write.root / file).write_bytes((write.root / file).read_bytes()[:45])
    only(found("label_png", write, vocabulary), write.root / file, "image 1", "cannot be decoded")


def test_panoptic_ids_that_the_json_lacks(write, vocabulary):
    write.panoptic({1: SOUND, 2: (PIXELS, IDS, SEGMENTS[:1])})
    rule = f"segment ids 2, 70000 of the PNG are not in {write.root}/panoptic.json"
    only(found("coco_panoptic", write, vocabulary), write.root / "panoptic/2.png", "image 2", rule)


def test_panoptic_ids_that_the_png_lacks(write, vocabulary):
    write.panoptic({1: (PIXELS, IDS, [*SEGMENTS, {"id": 8, "category_id": 3}]), 2: SOUND})
    rule = f"segment ids 8 have no pixel in {write.root}/panoptic/1.png"
    only(found("coco_panoptic", write, vocabulary), write.root / "panoptic.json", "image 1", rule)


def test_panoptic_ids_that_are_listed_twice(write, vocabulary):
    write.panoptic({1: (PIXELS, IDS, [*SEGMENTS, SEGMENTS[0]]), 2: SOUND})
    only(found("coco_panoptic", write, vocabulary), "panoptic.json", "image 1", "ids 1 are listed more than once")


def test_labels_that_the_vocabulary_lacks(write, vocabulary):
    values = np.full((4, 6), 3, np.uint8)
    write.labels({"a": (PIXELS, values), "b": (PIXELS, np.where(IDS == 1, 5, values).astype(np.uint8))})
    only(found("label_png", write, vocabulary), write.root / "labels/b.png", "image 1", "label 5 is not in vocabulary")


def test_categories_that_the_vocabulary_lacks(write, vocabulary):
    write.boxes({1: (PIXELS, [{"category_id": 3, "bbox": [0, 0, 2, 2]}, {"category_id": 4, "bbox": [0, 0, 2, 2]}])})
    problems = found("coco_boxes", write, vocabulary)
    only(problems[:1], write.root / "boxes.json", "image 1", "category_id 4 is not in vocabulary small (3, 7, 20..21)")
    only(problems[1:], write.root / "boxes.json", "", "no usable picture among the 1 of mine")


@pytest.mark.parametrize("format", ["coco_panoptic", "label_png", "coco_boxes"])
def test_sizes_that_differ(write, vocabulary, format):
    if format == "coco_panoptic":
        write.panoptic({0: SOUND, 1: SOUND})
    elif format == "label_png":
        write.labels({stem: (PIXELS, np.full((4, 6), 3, np.uint8)) for stem in "01"})
    else:
        write.boxes({0: (PIXELS, []), 1: (PIXELS, [])})
    write.picture("images/1.png", PIXELS[:, :5])
    only(found(format, write, vocabulary), write.root / "images/1.png", "image 1", "is 5x4 (width x height)")


def test_stated_size_does_not_matter_with_a_mask(write, vocabulary):
    write.panoptic({1: SOUND})
    change_json(write, "panoptic.json", lambda d: d["images"][0].update(height=9, width=6))
    problems = found("coco_panoptic", write, vocabulary)
    only(problems, write.root / "panoptic.json", "image 1", "states 6x9, but the picture", fatal=False)


def test_image_ids_that_are_listed_twice(write, vocabulary):
    write.boxes({1: (PIXELS, []), 2: (PIXELS, [])})
    path = change_json(write, "boxes.json", lambda d: d["images"].append(d["images"][1]))
    only(found("coco_boxes", write, vocabulary), path, "image 2", "listed more than once")


def test_pictures_that_are_annotated_twice(write, vocabulary):
    write.panoptic({1: SOUND, 2: SOUND})
    path = change_json(write, "panoptic.json", lambda d: d["annotations"].append(d["annotations"][1]))
    only(found("coco_panoptic", write, vocabulary), path, "image 2", "annotated more than once")


def test_annotations_of_pictures_that_are_not_listed(write, vocabulary):
    write.boxes({1: (PIXELS, []), 2: (PIXELS, [{"category_id": 3, "bbox": [0, 0, 2, 2]}])})
    path = change_json(write, "boxes.json", lambda d: d["images"].pop())
    only(found("coco_boxes", write, vocabulary), path, "image 2", "not in the list of images")


def test_pictures_without_annotation_are_left_out_with_a_warning(write, vocabulary):
    write.panoptic({1: SOUND, 2: SOUND})
    path = change_json(write, "panoptic.json", lambda d: d["annotations"].pop())
    only(found("coco_panoptic", write, vocabulary), path, "image 2", "left out", fatal=False)
    assert len(opened("coco_panoptic", write, vocabulary)) == 1


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ([1, 1, 0, 2], "box [1, 1, 0, 2] has no area"),
        ([1, 1, -3, 2], "has no area"),
        ([7, 1, 2, 2], "lies outside of the 6x4 picture"),
        ([-5, 1, 2, 2], "lies outside"),
        ([4, 1, 5.5, 2], "box [4, 1, 5.5, 2] reaches over the edge"),
        ([-1.5, 0, 5, 2], "reaches over the edge"),
    ],
)
def test_odd_boxes_are_warnings(write, vocabulary, box, rule):
    write.boxes({1: (PIXELS, [{"category_id": 3, "bbox": box}, {"category_id": 3, "bbox": [-0.5, 0, 7.1, 4]}])})
    only(found("coco_boxes", write, vocabulary), write.root / "boxes.json", "image 1", rule, fatal=False)


def test_no_usable_picture(write, vocabulary):
    write.labels({stem: (PIXELS, np.full((4, 6), 9, np.uint8)) for stem in "abc"})
    problems = found("label_png", write, vocabulary)
    assert [problem.record for problem in problems] == ["image 0", "image 1", "image 2", ""]
    assert "no usable picture among the 3" in problems[-1].rule


def test_limit_spreads_over_the_dataset(write, vocabulary):
    write.labels({f"{i}": (PIXELS, np.full((4, 6), 9, np.uint8)) for i in range(9)})
    source = opened("label_png", write, vocabulary)
    records = [problem.record for problem in check(source, vocabulary, limit=3)]
    assert records == ["image 0", "image 4", "image 8", ""]


def test_require_sound_says_the_first_and_counts_the_others(write, three_datasets, vocabulary):
    good = open_source("coco_boxes", str(three_datasets["box"]), vocabulary, name="good")
    require_sound([good])
    write.boxes({i: (PIXELS, [{"category_id": 4, "bbox": [0, 0, 0, 2]}]) for i in range(3)})
    with pytest.raises(InputError) as error:
        require_sound([good, opened("coco_boxes", write, vocabulary)])
    line = str(error.value)
    assert line.startswith(f"{write.root}/boxes.json: image 0: category_id 4") and "\n" not in line
    assert "(and 3 more: run python -m data.validate)" in line


def command(write, format, vocabulary, *more) -> int:
    entries = zip(vocabulary.names, vocabulary.is_thing, vocabulary.ids, strict=True)
    records = [{"name": name, "isthing": int(thing), "id": key} for name, thing, key in entries]
    path = write.json("vocabulary.json", records)
    return validate.main([f"--format={format}", f"--root={write.root}", f"--vocabulary={path}", *more])


def test_command_line(write, vocabulary, capsys):
    write.panoptic({1: SOUND, 2: SOUND})
    assert command(write, "coco_panoptic", vocabulary) == 0
    table = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    counted = [table[row] for row in ("errors", "pictures", "targets", "united when stuff is merged")]
    assert counted == ["0", "2", "6", "2"]

    change_json(write, "panoptic.json", lambda d: d["annotations"][0]["segments_info"].pop())
    assert command(write, "coco_panoptic", vocabulary) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"error: {write.root}/panoptic/1.png: image 1: segment ids 70000 of the PNG")

    assert command(write, "coco_panoptic", vocabulary, "--images=nowhere") == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: dataset: image folder")
