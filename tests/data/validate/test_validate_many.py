"""Millions of problems are counted and some are listed: each would take half a kilobyte."""

import importlib
import tracemalloc
import weakref

import numpy as np

from data.formats import open_source
from data.problem import MOST_DEFECTS, Problem, Problems
from data.validate import rules
from data.validate.listing import Listing
from data.validate.report import Report, to_json, to_markdown, to_text
from data.validate.sample import File, Sample
from data.validate.survey import Survey
from tests.data.validate.damage import boxes, change, panoptic, validated

survey = importlib.import_module("data.validate.survey")  # The package has a function of that name.


def test_of_each_kind_the_first_are_kept_and_the_last_counts_the_others():
    found = Problems(2)
    found.add((Problem("f", f"image {i}", "odd") for i in range(5)), "odd")
    found.add([Problem("f", "image 0", "even"), Problem("f", "image 1", "odd", fatal=False)], "odd")
    found.add([Problem("f", "image 9", "odd", more=10, kind="odd")])
    assert [(p.record, p.rule, p.fatal, p.count) for p in found] == [
        ("image 0", "odd", True, 1),
        ("image 1", "odd", True, 1 + 3 + 1 + 11),
        ("image 1", "odd", False, 1),
    ]
    assert [str(p) for p in found][1] == "f: image 1: odd (and 15 more)"


def test_a_million_bad_boxes_of_an_image_are_ten_lines(vocabulary):
    """As `data.validate` sees them: the rule about boxes, and all that becomes of it."""
    count = 1_000_000
    bad = np.zeros((count, 4), np.float32)
    bad[:, 2:] = 5, 0

    class Record:
        mask, shapes, boxes, where = "", (), bad, "image 1"

    class Source:
        annotations = "boxes.json"

    image = File("1.jpg", None, None, np.zeros((32, 48, 3), np.uint8))
    sample = Sample(Source, vocabulary, Record, image, File(""))
    tracemalloc.start()
    found = Problems(rules.MOST_OF_IMAGE)
    found.add(rules.boxes_lie_in_image(sample), "boxes_lie_in_image")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    problems = tuple(found)
    assert len(problems) == 10 and sum(p.count for p in problems) == count
    assert str(problems[-1]) == "boxes.json: image 1: box [0, 0, 5, 0] has no area and is dropped (and 999,990 more)"
    assert peak < 1.5e8  # Arrays of the boxes; as problems 1 GB.
    report = Report("t", "v", 1, Survey(problems))
    assert report.verdict == "sound: no error, 1000000 warnings"
    for text in (to_text(report), to_markdown(report, []), to_json(report)):
        assert "999,990 more" in text or '"more": 999990' in text
        assert len(text) < 5000


def test_each_kind_of_bad_box_is_listed_beside_the_others(write, vocabulary):
    boxes(write)
    bad = [[0, 0, 5, 0]] * 30 + [[60, 0, 5, 5]] * 12 + [[float("nan"), 0, 5, 5]]
    common = {"image_id": 2, "category_id": 3, "iscrowd": 0}
    change(
        write,
        "boxes.json",
        lambda c: c["annotations"].extend({"bbox": b, "id": 50 + i} | common for i, b in enumerate(bad)),
    )
    report = validated("coco_boxes", write, vocabulary)
    assert [p.count for p in report.problems] == [1] + [1] * 9 + [21] + [1] * 9 + [3]
    assert report.warnings == 43 and "(and 20 more)" in to_text(report)


def test_bad_boxes_of_all_images_together_are_bounded(write, vocabulary, monkeypatch):
    monkeypatch.setattr(rules, "MOST_OF_DATASET", 4)
    boxes(write)
    change(write, "boxes.json", lambda c: [a.update(bbox=[0, 0, 5, 0]) for a in c["annotations"]])
    report = validated("coco_boxes", write, vocabulary)
    assert [(p.record, p.count) for p in report.problems if "no area" in p.rule] == [
        ("image 1", 1), ("image 1", 1), ("image 2", 1), ("image 2", 3),
    ]  # fmt: skip


def test_a_list_of_bad_entries_is_bounded(vocabulary):
    listing = Listing("boxes.json", vocabulary)
    for number in range(30_000):
        listing.annotation(number, {"image_id": 1, "category_id": 3, "bbox": [1, 2]})
        listing.annotation(number, [])
    problems = listing.problems({})
    assert len(problems) == 2 * rules.MOST_OF_DATASET and [p.count for p in problems[-2:]] == [20_001] * 2


def test_defects_that_readers_keep_are_bounded(write, vocabulary):
    panoptic(write)
    common = {"file_name": "1.png", "segments_info": []}
    change(
        write,
        "panoptic.json",
        lambda c: (
            c["images"].extend({"id": 5000 + i, "file_name": "1.png"} for i in range(1500)),
            c["annotations"].extend({"image_id": 5000 + i} | common for i in [*range(1500), *range(1500)]),
            c["images"].extend({"id": 100 + i, "file_name": "1.png"} for i in range(1600)),
            c["images"].extend({"id": 5000 + i % 1500, "file_name": "1.png"} for i in range(1500)),
        ),
    )
    report = validated("coco_panoptic", write, vocabulary, limit=3)
    for rule, count in (("annotated more", 1500), ("no annotation", 1600), ("listed more", 1500)):
        found = [p for p in report.problems if rule in p.rule]
        assert len(found) == MOST_DEFECTS and sum(p.count for p in found) == count


def test_what_is_found_in_an_image_is_not_kept(three_datasets, vocabulary, monkeypatch):
    alive, most = [], []

    def parts(source, vocabulary, indices, workers):
        for index in indices:
            part = survey._examine(source, vocabulary, index)
            alive.append(weakref.ref(part))
            yield part

    monkeypatch.setattr(survey, "_parts", parts)
    source = open_source("coco_panoptic", str(three_datasets["pan"]), vocabulary, name="p")
    survey.survey(source, vocabulary, progress=lambda *_: most.append(sum(part() is not None for part in alive)))
    assert len(most) == 7 and max(most) <= 2
