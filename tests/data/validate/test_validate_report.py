"""The command: exit status, report files, and images that show what is there."""

import html
import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image

from data.example import NO_TARGET, VOID, Example
from data.pipeline.masks import Masks
from data.problem import Problem
from data.validate.__main__ import main
from data.validate.histogram import counts, histogram, spell_count
from data.validate.report import Report, to_text
from data.validate.sheet import contact_sheet, draw_example
from data.validate.summary import Summary
from data.validate.survey import Survey
from dataseg_jax.results.labelling import font, shorten
from dataseg_jax.results.markup import as_line
from dataseg_jax.text.vocabulary import Vocabulary
from tests.data.conftest import noise
from tests.data.validate.damage import WRITERS, boxes, edit_panoptic, labels, panoptic, validated


@pytest.fixture
def command(write, vocabulary):
    """Runs the command in this process: (format, more arguments) -> exit status."""
    entries = zip(vocabulary.names, vocabulary.is_thing, vocabulary.ids, strict=True)
    records = [{"name": name, "isthing": int(thing), "id": key} for name, thing, key in entries]
    path = write.json("vocabulary.json", [*records, {"name": "nothing", "id": 90, "ignore": True}])

    def run(format, *more):
        return main([f"--format={format}", f"--root={write.root}", f"--vocabulary={path}", "--workers=0", *more])

    return run


@pytest.mark.parametrize("format", WRITERS)
def test_sound_datasets_exit_with_0(write, command, capsys, format):
    WRITERS[format](write)
    assert command(format) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "sound: no error, 0 warnings"
    table = dict(line.rsplit(maxsplit=1) for line in lines if "  " in line)
    assert (table["errors"], table["images"], table["looked at"], table["  sound"]) == ("0", "3", "3", "3")


def test_damaged_datasets_exit_with_1(write, command, capsys):
    panoptic(write)
    edit_panoptic(lambda content: content["annotations"][1]["segments_info"].pop())(write)
    assert command("coco_panoptic") == 1
    out = capsys.readouterr().out
    assert out.startswith(f"error: {write.root}/panoptic/2.png: image 2: segment ids 70000 of the PNG")
    assert out.endswith("NOT SOUND: 1 error, 0 warnings\n")


def test_datasets_that_cannot_be_opened_exit_with_1(write, command, capsys):
    panoptic(write)
    assert command("coco_panoptic", "--images=nowhere", f"--out={write.root}/report") == 1
    assert capsys.readouterr().out.startswith("error: dataset: image folder")
    assert json.loads((write.root / "report/report.json").read_text())["sound"] is False


def test_wrong_flags_exit_with_1(write, command, capsys):
    labels(write)
    assert command("label_png", "--vocabulary=no_such") == 1
    assert capsys.readouterr().out.startswith("error: no vocabulary 'no_such'")
    assert command("label_png", f"--out={write.root}/labels/a.png") == 1
    assert capsys.readouterr().err.startswith("error: --out=")


def test_as_a_program_with_processes(write, vocabulary, tmp_path):
    boxes(write)
    names = write.json("names.json", [{"name": "cat", "id": 3}, {"name": "dog", "id": 7}])
    line = [sys.executable, "-m", "data.validate", "--format=coco_boxes", f"--root={write.root}"]
    done = subprocess.run([*line, f"--vocabulary={names}", "--workers=2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sound: no error, 0 warnings\n") and done.stderr == ""


def test_problems_are_cut_and_fatal_ones_come_first():
    problems = [Problem("f", f"image {i}", "odd", fatal=i == 7) for i in range(9)]
    lines = to_text(Report("t", "v", 9, Survey(tuple(problems))), show=3).splitlines()
    assert lines[0] == "error: f: image 7: odd"
    assert lines[1:3] == ["warning: f: image 0: odd", "warning: f: image 1: odd"]
    assert lines[3] == "... and 6 more; --show=0 prints all"


def test_equal_notes_are_told_once():
    notes = tuple(Problem(f"{i}.jpg", f"image {i}", "is grayscale", fatal=False) for i in range(3))
    text = to_text(Report("t", "v", 3, Survey(notes=notes)))
    assert "note: 3 images, 0.jpg (image 0) first: is grayscale\n" in text


def test_report_files(write, command):
    panoptic(write)
    (write.root / "images/2.png").write_bytes(b"")
    out = write.root / "report"
    assert command("coco_panoptic", f"--out={out}", "--sheet=2") == 1
    content = json.loads((out / "report.json").read_text())
    assert (content["errors"], content["summary"]["images"], content["summary"]["sound"]) == (1, 3, 2)
    assert content["problems"] == [
        {"level": "error", "file": f"{write.root}/images/2.png", "record": "image 2", "rule": "is empty (0 bytes)"}
    ]
    assert [(row["name"], row["targets"]) for row in content["classes"]] == [
        ("cat", 2),
        ("grass", 2),
        ("sky", 2),
        ("dog", 0),
    ]
    page = (out / "report.md").read_text()
    for part in ("**NOT SOUND: 1 error, 0 warnings**", "![contact_sheet.png]", "| 7 | dog | thing | **never seen** |"):
        assert part in page
    with Image.open(out / "contact_sheet.png") as sheet, Image.open(out / "histogram.png") as bars:
        assert sheet.size == (16 + 2 * (480 + 16), 62 + 360 + 28 + 16) and bars.width >= 620


def test_names_of_others_are_text_in_the_report(write):
    """The real program, on a dataset whose every name is made to break a page."""
    names = ["<script>alert(1)</script>", "a|b", "a &lt; b", "`code`", "![x](http://e)", "_a_ *b*", "\u202eflip"]
    write.image("images/1.png", noise(1, 20, 20))
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    boxes = [{"id": n, "image_id": 1, "category_id": n, "bbox": [1, 1, 5, 5], "iscrowd": 0} for n in range(1, 8)]
    images = [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "<b>|`x`.png"}]
    write.json("boxes.json", {"images": images, "annotations": boxes, "categories": categories})
    out = write.root / "report"
    line = [sys.executable, "-m", "data.validate", "--format=coco_boxes", f"--root={write.root}", "--name=<b>|`x`"]
    done = subprocess.run([*line, f"--out={out}", "--workers=1"], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stdout.startswith(f"error: {write.root}/images/<b>|`x`.png: image 2: ")
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render((out / "report.md").read_text())
    tags = set(re.findall(r"<([a-z0-9]+)", rendered))
    assert tags == {"h1", "h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "img"}
    assert re.findall(r'src="([^"]+)"', rendered) == ["contact_sheet.png", "histogram.png"]
    cells = [html.unescape(cell) for cell in re.findall(r"<tr>\s*<td[^>]*>\d</td>\s*<td>(.*?)</td>", rendered)]
    assert sorted(cells) == sorted(map(as_line, names))
    content = json.loads((out / "report.json").read_text())
    assert sorted(row["name"] for row in content["classes"]) == sorted(names)
    assert [problem["file"] for problem in content["problems"]] == [f"{write.root}/images/<b>|`x`.png"]


def test_classes_that_are_never_seen_are_named(write, vocabulary):
    boxes(write)
    text = to_text(validated("coco_boxes", write, vocabulary))
    assert "note: never seen, 2 of 4 classes: grass; sky\n" in text


def many(count):
    names = tuple(f"class {i}" for i in range(count))
    return Vocabulary("many", names, tuple(i % 3 > 0 for i in range(count)), tuple(range(1, count + 1)))


def test_histograms_have_pages_for_thousands_of_classes():
    vocabulary = many(1203)
    seen = Counter({i: i for i in range(1, 1000)})
    rows = counts(vocabulary, Summary(images_of=seen, targets_of=seen))
    assert [row.targets for row in rows[:3]] == [999, 998, 997] and rows[-1].targets == 0
    pages = histogram("many", rows)
    assert len(pages) == 9 and all(page.width < 1600 and page.height < 1700 for page in pages)


def bar_lengths(page, colour):
    """Pixels of a colour in every row of bars, in order."""
    counted = (np.asarray(page)[112:] == colour).all(axis=2).sum(axis=1)
    return [int(part[part > 0].max()) for part in np.split(counted, range(19, len(counted), 19)) if part.any()]


def test_bars_grow_with_the_logarithm():
    vocabulary = Vocabulary("v", ("a", "b", "c"), (True,) * 3, (1, 2, 3))
    seen = Counter({0: 1000, 1: 100, 2: 10})
    lengths = bar_lengths(
        histogram("v", counts(vocabulary, Summary(images_of=seen, targets_of=seen)))[0], (53, 115, 184)
    )
    assert len(lengths) == 3 and abs((lengths[0] - lengths[1]) - (lengths[1] - lengths[2])) <= 1
    assert lengths[0] > lengths[1] > lengths[2] > 0


def example(segments, labels, boxes=None, masks=None):
    image = np.full((*(36, 48), 3), 100, np.uint8)
    boxes = np.zeros((len(labels), 4), np.float32) if boxes is None else np.float32(boxes)
    return Example(image, 1, "dir/image.png", np.int32(labels), boxes, segments, masks)


def near(pixel, colour):
    return np.abs(pixel.astype(int) - colour).max() <= 1


RED, BLUE, GREEN = (200, 40, 40), (40, 60, 220), (40, 160, 60)
COLOURS = {"cat": RED, "dog": BLUE, "grass": GREEN, "sky": (90, 160, 200)}


def test_targets_are_drawn_in_their_colours(vocabulary):
    segments = np.full((36, 48), NO_TARGET, np.int32)
    segments[:, :12], segments[:, 12:24] = 0, 1
    segments[:, 40:] = VOID
    drawn = draw_example(example(segments, [2, 0]), vocabulary, COLOURS)
    assert drawn.shape == (360, 480, 3)
    names = vocabulary.spoken
    assert near(drawn[100, 60], (100 + np.array(COLOURS[names[2]])) // 2)
    assert near(drawn[100, 180], (100 + np.array(COLOURS[names[0]])) // 2)
    assert near(drawn[100, 300], 100)  # Supervised, but of no target: left as it is.
    void = drawn[:, 420:460].reshape(-1, 3)
    assert set(np.unique(void)) == {30, 110}  # Dark, and striped.


def test_overlapping_targets_show_the_smaller_above(vocabulary):
    masks = np.zeros((2, 36, 48), np.uint8)
    masks[0, 10:20, 10:20], masks[1] = 1, 1
    drawn = draw_example(
        example(np.full((36, 48), NO_TARGET), [0, 1], masks=Masks.encode(masks, (36, 48))), vocabulary, COLOURS
    )
    beneath = (100 + np.array(COLOURS[vocabulary.spoken[1]])) // 2
    assert near(drawn[20, 20], beneath)
    assert near(drawn[120, 120], (beneath + np.array(COLOURS[vocabulary.spoken[0]])) // 2)


def test_boxes_are_framed(vocabulary):
    drawn = draw_example(example(None, [0], [[10, 10, 30, 30]]), vocabulary, COLOURS)
    colour = np.array(COLOURS[vocabulary.spoken[0]])
    assert near(drawn[250, 100], colour) and near(drawn[299, 200], colour)
    assert near(drawn[20, 20], 100) and near(drawn[250, 200], 0.88 * 100 + 0.12 * colour)


def test_sheets_have_rows_of_four(vocabulary):
    images = [example(np.zeros((36, 48), np.int32), [0])] * 5
    assert contact_sheet("t", images, vocabulary).size == (16 + 4 * 496, 62 + 2 * 404)


def test_texts_fit_and_counts_are_short():
    assert font(13).getlength(shorten("a very long name of a class", font(13), 60)) <= 60
    assert [spell_count(n) for n in (0, 87, 999, 1234, 56_789, 2_600_000)] == ["0", "87", "999", "1.2k", "57k", "2.6M"]
