"""What only the whole dataset shows; what is counted; and the check before a run."""

import dataclasses

import numpy as np
import pytest

from data.formats import open_source
from data.pipeline.masks import Masks
from data.source import Record, Source
from data.validate import Summary, check, require_sound, survey
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import read_bytes
from dataseg_jax.text.vocabulary import Vocabulary
from tests.data.validate.damage import HEIGHT, IDS, WIDTH, WRITERS, boxes, labels, pixels, segments, validated

FROM_ZERO = Vocabulary("plain", ("a", "b", "c"), (True, True, False), (0, 1, 2))
FROM_ONE = Vocabulary("plain", ("a", "b", "c"), (True, True, False), (1, 2, 3))


def opened(format, write, vocabulary):
    return open_source(format, str(write.root), vocabulary, name="mine")


def stripes(*values):
    """A label map with a stripe of each value."""
    return np.array(values, np.uint8)[np.arange(WIDTH) * len(values) // WIDTH][None].repeat(HEIGHT, axis=0)


def suspicion(report):
    """The one problem of the dataset as a whole that speaks of a suspicion."""
    (problem,) = [p for p in report.problems if not p.record and "no usable image" not in p.rule]
    return problem


@pytest.mark.parametrize(
    ("vocabulary", "values", "rule", "fatal"),
    [
        (FROM_ZERO, (1, 2, 3), "the labels seem to run 1..3 with 0 as void, vocabulary plain says 0..2", True),
        (FROM_ZERO, (0, 1, 3), "set label_offset to 1 (elsewhere called reduce_zero_label)", True),
        (
            FROM_ONE,
            (0, 1, 2),
            "label 0, void in vocabulary plain (1..3), covers 33% of all pixels, and label 3 ",
            False,
        ),
        (FROM_ONE, (0, 255), "hold 0 and 255 alone, both void: white is no class", True),
    ],
)
def test_labels_that_start_elsewhere(write, vocabulary, values, rule, fatal):
    write.labels({stem: (pixels(seed), stripes(*values)) for seed, stem in enumerate("ab")})
    report = validated("label_png", write, vocabulary)
    problem = suspicion(report) if values != (0, 255) else report.problems[0]
    assert problem.file == str(write.root / "labels") and problem.fatal == fatal
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("vocabulary", "values"),
    [
        (FROM_ZERO, (0, 1, 2)),
        (FROM_ONE, (1, 2, 3)),
        (FROM_ONE, (0, 1, 2, 3)),
        (FROM_ONE, (0, 3)),
        (FROM_ONE, (1, 2)),
        (FROM_ZERO, (1, 2, 255)),
        (dataclasses.replace(FROM_ZERO, ignore=(3,)), (0, 1, 2, 3)),
    ],
)
def test_labels_above_suspicion(write, vocabulary, values):
    write.labels({"a": (pixels(0), stripes(*values))})
    assert check(opened("label_png", write, vocabulary), vocabulary) == []


@pytest.mark.parametrize(
    ("vocabulary", "categories", "rule"),
    [
        (FROM_ONE, (0, 1, 2), "seem to be places in a list, 0..2, where vocabulary plain has 1..3"),
        (FROM_ZERO, (1, 2, 3), "seem to run 1..3, where vocabulary plain has 0..2"),
    ],
)
def test_categories_that_start_elsewhere(write, vocabulary, categories, rule):
    write.boxes({1: (pixels(1), [{"category_id": key, "bbox": [1, 1, 9, 9]} for key in categories])})
    problem = suspicion(validated("coco_boxes", write, vocabulary))
    assert problem.file == str(write.root / "boxes.json") and problem.fatal
    assert "off by one?" in problem.rule and rule in problem.rule


def random_corners(seed, count=20):
    rng = np.random.default_rng(seed)
    x, y = (np.sort(rng.uniform(0, side, (count, 2)), axis=1) for side in (WIDTH, HEIGHT))
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


@pytest.mark.parametrize(
    ("convert", "rule"),
    [
        (lambda corners: corners, "as x0 y0 x1 y1"),
        (lambda corners: np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]), None),
        (lambda corners: corners / [WIDTH, HEIGHT, WIDTH, HEIGHT], "lie between 0 and 1: they must be in pixels"),
    ],
)
def test_boxes_of_another_kind(write, vocabulary, convert, rule):
    found = [{"category_id": 3, "bbox": box} for box in convert(random_corners(0)).tolist()]
    write.boxes({1: (pixels(1), found)})
    fatal = [p for p in check(opened("coco_boxes", write, vocabulary), vocabulary) if p.fatal]
    assert [(p.file, p.record) for p in fatal] == ([(str(write.root / "boxes.json"), "")] if rule else [])
    assert rule is None or rule in fatal[0].rule


def test_no_target_at_all(write, vocabulary):
    write.boxes({1: (pixels(1), []), 2: (pixels(2), [])})
    (problem,) = check(opened("coco_boxes", write, vocabulary), vocabulary)
    assert "not one target in the 2 sound images" in problem.rule and not problem.fatal


def test_no_usable_image(write, vocabulary):
    write.labels({stem: (pixels(seed), np.full((HEIGHT, WIDTH), 9, np.uint8)) for seed, stem in enumerate("abc")})
    problems = check(opened("label_png", write, vocabulary), vocabulary)
    assert [problem.record for problem in problems] == ["image 0", "image 1", "image 2", ""]
    assert "no usable image among the 3" in problems[-1].rule


def test_limit_spreads_over_the_dataset(write, vocabulary):
    write.labels({f"{i}": (pixels(i), np.full((HEIGHT, WIDTH), 9, np.uint8)) for i in range(9)})
    source = opened("label_png", write, vocabulary)
    records = [problem.record for problem in check(source, vocabulary, limit=3)]
    assert records == ["image 0", "image 4", "image 8", ""]


def test_what_the_reader_refuses_is_reported(write, vocabulary):
    """Readers check more than the rules know: their words become problems."""
    boxes(write)
    source = opened("coco_boxes", write, vocabulary)

    class Refuses(type(source)):
        def build(self, record, image, mask):
            if record.image_id == 2:
                raise InputError(f"{self.annotations}: {record.where}: a polygon has 2 points")
            return super().build(record, image, mask)

    source.__class__ = Refuses
    (problem,) = check(source, vocabulary)
    assert (problem.file, problem.record) == (str(write.root / "boxes.json"), "image 2")
    assert problem.rule == "a polygon has 2 points" and problem.fatal


def test_prepared_data_are_checked_as_the_original(write, vocabulary, tmp_path):
    """Their records carry the files, and their reader is that of the original layout."""
    labels(write)
    write.image("labels/b.png", np.full((HEIGHT, WIDTH), 5, np.uint8))
    (write.root / "images/c.png").write_bytes((write.root / "images/c.png").read_bytes()[:-12])
    original = opened("label_png", write, vocabulary)

    @dataclasses.dataclass(frozen=True, eq=False)
    class Stored(Record):
        image_content: bytes = b""
        mask_content: bytes = b""

    class Prepared(Source):
        name, vocabulary, annotations, reader = "mine", original.vocabulary, "shards", original

        def __len__(self):
            return len(original)

        def record(self, index):
            record = original.record(index)
            files = (record.image, record.mask)
            names = {"image": f"in shards/{index}.png", "mask": f"in shards/{index}m.png"}
            content = dict(zip(("image_content", "mask_content"), (read_bytes(file) for file in files), strict=True))
            return Stored(**vars(record) | names | content)

        def image_bytes(self, record):
            return record.image_content

        def mask_bytes(self, record):
            return record.mask_content

        def decode_mask(self, content, file):
            return original.decode_mask(content, file)

        def build(self, record, image, mask):
            return original.build(record, image, mask)

    problems = check(Prepared(), vocabulary)
    assert [(p.file, p.record) for p in problems] == [("in shards/1m.png", "image 1"), ("in shards/2.png", "image 2")]
    assert "label 5 is not in vocabulary" in problems[0].rule and "is damaged or truncated" in problems[1].rule


def test_summary_against_naive_counts(write, vocabulary):
    two_grass = [{"id": 1, "category_id": 20}, {"id": 2, "category_id": 20}, {"id": 70000, "category_id": 3}]
    entries = {1: segments(), 2: two_grass}
    write.panoptic(
        {key: (pixels(key), IDS, rows) for key, rows in entries.items()} | {3: (pixels(3), np.zeros_like(IDS), [])}
    )
    summary = survey(opened("coco_panoptic", write, vocabulary), vocabulary).summary
    index_of = {20: 2, 21: 3, 3: 0}
    pixels_of = {0: 0, 2: 0, 3: 0}
    for rows in entries.values():
        for row in rows:
            pixels_of[index_of[row["category_id"]]] += int((IDS == row["id"]).sum())
    assert summary == Summary(
        images=3,
        without_targets=1,
        targets=6,
        most_targets=3,
        united_panoptic=1,
        united_semantic=1,
        pixels=3 * IDS.size,
        void=2 * int((IDS == 0).sum()) + IDS.size,
        images_of={0: 2, 2: 2, 3: 1},
        targets_of={0: 2, 2: 3, 3: 1},
        pixels_of=pixels_of,
        categories={20: 3, 21: 1, 3: 2},
    )


def test_overlapping_masks_are_counted_each(write, vocabulary):
    labels(write)
    source = opened("label_png", write, vocabulary)

    class Overlaps(type(source)):
        def build(self, record, image, mask):
            masks = np.zeros((2, HEIGHT, WIDTH), np.uint8)
            masks[0, :, 3:30] = 1
            segments = np.full((HEIGHT, WIDTH), -2, np.int32)
            example = super().build(record, image, mask)
            return dataclasses.replace(
                example,
                labels=np.int32([0, 1]),
                boxes=np.zeros((2, 4), np.float32),
                segments=segments,
                masks=Masks.encode(masks, (HEIGHT, WIDTH)),
            )

    source.__class__ = Overlaps
    found = survey(source, vocabulary)
    assert found.summary.pixels_of == {0: 3 * 27 * HEIGHT} and found.summary.void == 0
    assert [(p.file, p.rule) for p in found.problems] == [
        (str(write.root / f"labels/{stem}.png"), "target 1 (dog) has no pixel") for stem in "abc"
    ]


@pytest.mark.parametrize("format", WRITERS)
def test_processes_find_what_threads_find(write, vocabulary, format):
    WRITERS[format](write)
    (write.root / "images" / sorted(file.name for file in (write.root / "images").iterdir())[1]).write_bytes(b"x")
    source, seen = opened(format, write, vocabulary), []
    threads = survey(source, vocabulary)
    processes = survey(source, vocabulary, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert threads.problems == processes.problems and len(threads.problems) == 1
    assert (threads.summary, threads.unsound) == (processes.summary, processes.unsound) and threads.unsound == {1}
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_require_sound_says_the_first_and_counts_the_others(write, three_datasets, vocabulary):
    good = open_source("coco_boxes", str(three_datasets["box"]), vocabulary, name="good")
    require_sound([good])
    write.boxes({i: (pixels(i), [{"category_id": 4, "bbox": [0, 0, 0, 2]}]) for i in range(3)})
    with pytest.raises(InputError) as error:
        require_sound([good, opened("coco_boxes", write, vocabulary)])
    line = str(error.value)
    assert line.startswith(f"{write.root}/boxes.json: image 0: category_id 4") and "\n" not in line
    assert "(and 3 more: run python -m data.validate)" in line
