"""The pictures of the README can be made again."""

import importlib.util

from PIL import Image

from tests.docs.pages import ROOT


def drawn_by(script):
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_strip(tmp_path):
    strip = drawn_by("strip")
    strip.main(tmp_path / "strip.jpg")
    with Image.open(tmp_path / "strip.jpg") as made, Image.open(strip.FILE) as kept:
        assert made.size == kept.size


def test_the_drawing_of_a_task_table(tmp_path):
    drawing = drawn_by("task_rows")
    drawing.main(tmp_path / "rows.svg")
    assert (tmp_path / "rows.svg").read_text() == drawing.FILE.read_text()


def test_the_drawing_shows_what_the_tasks_are():
    merges, terms = zip(*drawn_by("task_rows").rows(), strict=True)
    assert [sorted(word for word, united in row.items() if united) for row in merges] == [
        ["road", "sky"],
        ["bird", "cloud", "lake", "tree"],
        [],
        [],
    ]
    assert [[term for term, counts in row.items() if counts] for row in terms] == [["ce", "focal", "dice"]] * 3 + [
        ["ce", "proj"]
    ]
