"""Frames by number, from every source, forward and back."""

import cv2
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.io.image_files import write_image
from dataseg_jax.io.video_frames import BACK, GoneError, open_frames

COUNT, SIZE = 40, (32, 48)


def frame(i):
    """A frame whose grey says its number, also after a lossy codec."""
    return np.full((*SIZE, 3), 5 * i + 20, np.uint8)


def number(image):
    return round((float(image.mean()) - 18) / 5)  # The codec of the test makes gray a little darker.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for i in range(12):
        write_image(folder / f"{i}.png", frame(i))
    (folder / "notes.txt").write_text("not a frame")
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "video.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.0, SIZE[::-1])
    for i in range(COUNT):
        writer.write(frame(i))
    writer.release()
    return path


def test_a_folder_in_the_order_of_numbers(folder):
    frames = open_frames(folder)
    assert frames.count == 12
    for i in (*range(12), 10, 2, 0):
        np.testing.assert_array_equal(frames.read(i), frame(i))
    assert frames.read(12) is None


@pytest.mark.parametrize("order", [
    range(COUNT), range(COUNT - 1, -1, -1), [5, 5, 30, 2, 39, 17, 16, 15, 18, 0],
], ids=["forward", "reverse", "any"])  # fmt: skip
def test_a_file_in_any_order(file, order):
    frames = open_frames(file)
    assert frames.count == COUNT and frames.rate == 12.0
    assert [number(frames.read(i)) for i in order] == list(order)
    assert len(frames._kept) <= BACK
    assert frames.read(COUNT) is None and number(frames.read(3)) == 3


def test_an_iterator_keeps_the_last_frames():
    frames = open_frames((frame(i) for i in range(10)), keep=4)
    assert frames.count is None and frames.newest == -1
    assert number(frames.read(0)) == 0 and number(frames.read(6)) == 6 and number(frames.read(3)) == 3
    with pytest.raises(GoneError, match="frame 2 is gone: of frames from an iterator the last 4 are kept, now from 3"):
        frames.read(2)
    assert frames.read(10) is None and frames.newest == 9 and number(frames.read(9)) == 9


def test_a_sequence_is_read_in_place():
    frames = open_frames([frame(i) for i in range(3)])
    assert frames.count == 3 and [number(frames.read(i)) for i in (2, 0, 1)] == [2, 0, 1] and frames.read(3) is None
    assert number(open_frames(np.stack([frame(4), frame(5)])).read(1)) == 5


def test_bad_sources(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.jpg").write_bytes((folder / "0.png").read_bytes()[:50])
    for source, message in (
        (tmp_path / "empty", "has no frames"),
        (tmp_path / "text.mp4", "cannot be read as a video"),
        (tmp_path / "none.mp4", "no such file"),
        ("http://example.com/video.mp4", "no such file"),
        (7, "frames are int"),
        ([], "frames are empty"),
    ):
        with pytest.raises(InputError, match=message):
            open_frames(source)
    with pytest.raises(InputError, match="0.jpg: cannot be read as an image"):
        open_frames(tmp_path / "bad").read(0)
