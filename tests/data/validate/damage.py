"""Small sound datasets, and what may be done to them: for the tests of data.validate."""

import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data.formats import open_source
from data.validate import validate_dataset

HEIGHT, WIDTH = 32, 48
IDS = np.zeros((HEIGHT, WIDTH), np.int64)
IDS[:16, :24], IDS[:16, 24:], IDS[16:, 10:40] = 1, 2, 70000
LABELS = np.where(IDS == 70000, 7, np.where(IDS == 2, 20, 3)).astype(np.uint8)


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def segments():
    return [{"id": 1, "category_id": 20}, {"id": 2, "category_id": 21}, {"id": 70000, "category_id": 3}]


def panoptic(write):
    write.panoptic({key: (pixels(key), IDS, segments()) for key in (1, 2, 3)})
    change(write, "panoptic.json", lambda content: content.pop("categories"))


def labels(write):
    write.labels({stem: (pixels(seed), LABELS) for seed, stem in enumerate("abc")})


def boxes(write):
    found = [{"category_id": 3, "bbox": [1, 2, 30, 9.5]}, {"category_id": 7, "bbox": [-0.5, 0, 49, 32]}]
    write.boxes({key: (pixels(key), found) for key in (1, 2, 3)})
    change(write, "boxes.json", lambda c: [a.update(id=place) for place, a in enumerate(c["annotations"])])


def change(write, file, edit):
    content = json.loads((write.root / file).read_text())
    edit(content)
    write.json(file, content)


WRITERS = {"coco_panoptic": panoptic, "label_png": labels, "coco_boxes": boxes}


class Damage(NamedTuple):
    """What is done to a sound dataset, and the only problem that must then be reported."""

    format: str
    harm: Callable
    file: str
    record: str
    rule: str
    fatal: bool = True


def edit_panoptic(edit):
    return lambda write: change(write, "panoptic.json", edit)


def edit_boxes(edit):
    return lambda write: change(write, "boxes.json", edit)


def one_box(box):
    return edit_boxes(lambda c: c["annotations"][2].update(bbox=box))  # The first of image 2.


def validated(format, write, vocabulary, **options):
    """The report on what was written."""
    return validate_dataset(lambda: open_source(format, str(write.root), vocabulary, name="mine"), **options)[0]


def assert_only_problem(write, vocabulary, damage):
    """Does the damage to a sound dataset, and checks all that is said about it."""
    WRITERS[damage.format](write)
    damage.harm(write)
    report = validated(damage.format, write, vocabulary)
    assert len(report.problems) == 1, report.problems
    problem = report.problems[0]
    assert problem.file == (str(write.root / damage.file) if damage.file else "")
    assert (problem.record, problem.fatal) == (damage.record, damage.fatal)
    assert damage.rule in problem.rule and "\n" not in str(problem)
    assert (report.errors > 0) == damage.fatal
