"""The picture that the README opens with can be made again."""

import importlib.util
import pathlib

from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


def test_the_strip_of_the_readme(tmp_path):
    spec = importlib.util.spec_from_file_location("strip", ROOT / "docs" / "strip.py")
    strip = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(strip)
    strip.main(tmp_path / "strip.jpg")
    with Image.open(tmp_path / "strip.jpg") as made, Image.open(strip.FILE) as kept:
        assert made.size == kept.size
    assert "docs/strip.jpg" in (ROOT / "README.md").read_text()
