"""Foreground sets: a gray mask becomes one target, or none."""

import numpy as np
import pytest
from PIL import Image

from data.example import NO_TARGET
from data.formats import find_vocabulary, open_source
from tests.data.conftest import assert_reads_back
from tests.messages import one_line

SIZE = (20, 30)


def write(root, masks):
    for folder in ("images", "masks"):
        (root / folder).mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(root / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")


def opened(root, **options):
    vocabulary = find_vocabulary("", "foreground_png", str(root), name="set")
    return open_source("foreground_png", str(root), vocabulary, name="set", **options)


@pytest.fixture
def masks():
    soft = np.zeros(SIZE, np.uint8)
    soft[4:10, 5:9], soft[4:10, 9], soft[0] = 255, 129, 128
    colours = np.stack([soft, soft, soft], -1)  # Some sets have gray masks as RGB.
    return {"a": soft, "b": np.zeros(SIZE, np.uint8), "c": colours}


def test_bright_pixels_are_one_target(tmp_path, masks):
    write(tmp_path, masks)
    source = opened(tmp_path)
    assert source.vocabulary.names == ("foreground",) and len(source) == 3
    for index in (0, 2):
        example = source[index]
        assert example.labels.tolist() == [0] and example.boxes.tolist() == [[5, 4, 10, 10]]
        np.testing.assert_array_equal(example.segments == 0, masks["a"] > 128)
        assert set(np.unique(example.segments)) == {0, NO_TARGET}  # All else is known to be background.
    empty = source[1]
    assert not len(empty.labels) and (empty.segments == NO_TARGET).all()


def test_prepared_data_are_the_same(tmp_path, masks):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set", masks)
    assert_reads_back(opened(tmp_path / "set"), "foreground_png", tmp_path / "set", tmp_path / "out")


def test_what_is_wrong_is_named(tmp_path, masks):
    write(tmp_path, masks)
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(tmp_path / "masks" / "b.png")
    one_line(lambda: opened(tmp_path)[1], "b.png", "31x20", "30x20")
    (tmp_path / "masks" / "b.png").write_bytes(b"no image")
    one_line(lambda: opened(tmp_path)[1], "b.png")
    (tmp_path / "masks" / "b.png").unlink()
    one_line(lambda: opened(tmp_path), "same file stems", "lacks 1 of 3")
