"""Peak memory of reading what is large: objects of one image, images of one file. Each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.readers.large_files import OBJECTS365, PANOPTIC, write_discs, write_objects365, write_panoptic

PROGRAM = Path(__file__).with_name("memory_program.py")


def measured(what, root):
    command = [sys.executable, str(PROGRAM), what, str(root)]
    environment = os.environ | {"PYTHONPATH": str(PROGRAM.parents[3])}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_masks_of_a_large_image_are_not_in_memory_together(tmp_path):
    """Dense, the masks take 12,800 MB; the image, its pixels of no target and copies of it about 200."""
    write_discs(tmp_path, 4000, 800)
    found = measured("instances", tmp_path)
    assert (found["targets"], found["kept"], found["masks"]) == (800, 800, 100)
    assert found["peak"] < 500, found


def sizes(full, divisor):
    return full[0] // divisor, full[1]


@pytest.mark.parametrize(
    ("divisor", "bound"),
    [pytest.param(20, 200, marks=pytest.mark.slow), pytest.param(1, 2300, marks=pytest.mark.soak)],
)
def test_objects365_is_opened_within_a_bound(tmp_path, divisor, bound):
    """MiB. Of 25 million boxes the numbers alone, as they are kept, are 1,000."""
    images, each = sizes(OBJECTS365, divisor)
    write_objects365(tmp_path, images, each)
    found = measured("coco_boxes", tmp_path)
    assert found["images"] == images and found["targets"] >= 5000 * each
    assert found["made"] < bound, found
    assert found["pickled"] < 50 + 1200 / divisor, found  # What each worker process gets.


@pytest.mark.parametrize("strings", [False, True])
@pytest.mark.parametrize(
    ("divisor", "bound"),
    [pytest.param(10, 100, marks=pytest.mark.slow), pytest.param(1, 400, marks=pytest.mark.soak)],
)
def test_coco_panoptic_is_opened_within_a_bound(tmp_path, divisor, bound, strings):
    images, each = sizes(PANOPTIC, divisor)
    write_panoptic(tmp_path, images, each, strings)
    found = measured("coco_panoptic", tmp_path)
    assert found["images"] == images and found["targets"] >= 5000 * each
    assert found["made"] < bound, found
    assert found["pickled"] < 10 + 100 / divisor, found
