"""SA-V's validation part: a folder of PNGs for each object."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.formats import find_vocabulary, open_source
from data.validate import validate_dataset
from tests.data.conftest import noise
from tests.messages import one_line

OBJECTS = (0, 2)


def mask(number: int, frame: int) -> np.ndarray:
    """Two boxes that overlap; object 0 is gone in frame 4, object 2 is there from then on."""
    values = np.zeros((24, 32), bool)
    if (frame < 4) == (number == 0) or frame == 8:
        values[4 + number : 20, 3 + frame : 18 + frame] = True
    return values


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    for seed, key in enumerate(("sav_1", "sav_2")):
        for frame in range(10):
            write(tmp_path / f"JPEGImages_24fps/{key}/{frame:05d}.png", noise(100 * seed + frame, 24, 32))
            for number in OBJECTS if frame % 4 == 0 else ():
                pixels = (255 * mask(number, frame)).astype(np.uint8)
                write(tmp_path / f"Annotations_6fps/{key}/{number:03d}/{frame:05d}.png", pixels)
    (tmp_path / "sav_val.txt").write_text("sav_2\nsav_1\n")
    return tmp_path


def opened(root, **more):
    return open_source("sa_v_val", str(root), find_vocabulary("", "sa_v_val", str(root), name="m"), name="m", **more)


def test_frames_and_objects(root):
    source = opened(root, split="sav_val.txt")
    assert len(source) == 2 and len(opened(root, limit=1)) == 1
    video = source.open(1)
    assert (video.key, video.length, video.annotated, video.objects) == ("sav_2", 10, (0, 4, 8), {0, 2})
    (image,) = video.images([7])
    np.testing.assert_array_equal(image, noise(107, 24, 32))
    for frame in video.annotated:
        found = video.masks(frame)
        assert sorted(found) == [number for number in OBJECTS if mask(number, frame).any()]
        assert all((pixels == mask(number, frame)).all() for number, pixels in found.items())
    assert sorted(video.masks(8, [2])) == [2]


def test_the_still_and_a_frame_without_objects(root):
    example = opened(root)[0]
    np.testing.assert_array_equal(np.array(example.masks), [mask(0, 0)])
    np.testing.assert_array_equal(example.image, noise(0, 24, 32))
    write(root / "Annotations_6fps/sav_1/000/00000.png", np.zeros((24, 32), np.uint8))
    assert len(opened(root)[0].labels) == 0


def test_a_mask_that_is_not_there_is_empty(root):
    (root / "Annotations_6fps/sav_1/000/00008.png").unlink()
    video = opened(root).open(0)
    assert video.annotated == (0, 4, 8) and sorted(video.masks(8)) == [2]


def test_what_is_wrong_is_named(root):
    write(root / "Annotations_6fps/sav_1/002/00008.png", np.ones((3, 3), np.uint8))
    one_line(lambda: opened(root).open(0).masks(8), "002/00008.png: is of another size")
    report, _ = validate_dataset(lambda: opened(root), title="m")
    (problem,) = report.survey.problems
    assert problem.fatal and "frame 8: " in str(problem) and "002/00008.png" in str(problem)
    (root / "JPEGImages_24fps/sav_1/00004.png").unlink()
    one_line(lambda: opened(root).open(0), "000/00004.png: has no frame 00004")
    (root / "Annotations_6fps/sav_2/cat").mkdir()
    one_line(lambda: opened(root)[1], "sav_2/cat: must be called by the number of an object")
    (root / "Annotations_6fps/sav_3").mkdir()
    one_line(lambda: opened(root).open(2), "sav_3 does not exist")
    (root / "JPEGImages_24fps/sav_3").mkdir()
    one_line(lambda: opened(root).open(2), "sav_3: holds no folder with .png files")
    (root / "sav_val.txt").write_text("/etc\n")
    one_line(lambda: opened(root, split="sav_val.txt"), "sav_val.txt", "is absolute")
