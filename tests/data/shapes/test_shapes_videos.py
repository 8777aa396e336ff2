"""The shapes world in motion: reproducible, read back as it was drawn, with things that leave and return."""

import json
from pathlib import Path

import numpy as np
import pytest

from data.formats import find_vocabulary, open_source
from data.shapes import Counts, World, write_world
from data.shapes.motion import FRAMES, draw_video
from data.validate import validate_dataset
from tests.messages import one_line

SMALL = Counts(panoptic=1, semantic=1, boxes=1, val=1)
WITH_VIDEOS = Counts(panoptic=1, semantic=1, boxes=1, val=1, videos=5)
WORLD = World(seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_world(tmp_path_factory.mktemp("moving") / "world", WORLD, WITH_VIDEOS, workers=1)


def opened(root, layout, split="train", **more):
    if layout == "davis":
        folder, more = root / "davis", more | {"split": f"ImageSets/2017/{split}.txt"}
    else:
        folder = root / "sa_v" / split
    return open_source(layout, str(folder), find_vocabulary("", layout, str(folder), name="m"), name="m", **more)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_a_world_without_videos_is_what_it_was(root, tmp_path):
    without = files(write_world(tmp_path / "still", WORLD, SMALL, workers=1))
    assert not any(name.startswith(("davis", "sa_v")) for name in without)
    stored = json.loads(without.pop("world.json"))
    assert "videos" not in stored["counts"]
    same = files(root)
    assert all(same[name] == content for name, content in without.items())


def test_the_same_world_gives_the_same_videos(root):
    again = draw_video(WORLD, "davis", "train", 1)
    other = draw_video(World(seed=4), "davis", "train", 1)
    assert (again.images == draw_video(WORLD, "davis", "train", 1).images).all()
    assert (again.images != other.images).any()
    for frame, image in zip((0, 20), opened(root, "davis").open(1).images([0, 20]), strict=True):
        assert np.abs(image.astype(int) - again.images[frame]).mean() < 4  # JPEG.


def test_davis_shows_what_is_drawn(root):
    source = opened(root, "davis")
    assert len(source) == 5 and len(opened(root, "davis", "val")) == 2
    for index in range(5):
        drawn, video = draw_video(WORLD, "davis", "train", index), source.open(index)
        first = [n for n in range(len(drawn.names)) if (drawn.shown[0] == n).sum() >= WORLD.min_visible]
        assert video.annotated == tuple(range(FRAMES)) and sorted(video.masks(0)) == list(range(1, len(first) + 1))
        for frame in (0, 13, FRAMES - 1):
            expected = {k: drawn.shown[frame] == n for k, n in enumerate(first, 1)}
            found = video.masks(frame)
            assert sorted(found) == [k for k, mask in expected.items() if mask.any()]
            assert all((mask == expected[k]).all() for k, mask in found.items())


def test_sa_v_shows_what_is_drawn(root):
    source = opened(root, "sa_v")
    assert len(source) == 5 and len(opened(root, "sa_v", "val")) == 2
    for index in range(5):
        drawn, video = draw_video(WORLD, "sa_v", "train", index), source.open(index)
        assert video.annotated == tuple(range(0, FRAMES, 4)) and len(video.objects) == len(drawn.names)
        for frame, image in zip(video.annotated, video.images(video.annotated), strict=True):
            assert np.abs(image.astype(int) - drawn.images[frame]).mean() < 12  # MPEG-4 of 64 x 64 pixels.
            for number, mask in video.masks(frame).items():
                np.testing.assert_array_equal(mask, drawn.shown[frame] == number)


def test_some_things_leave_and_return_and_one_stays(root):
    gone = 0
    for index in range(5):
        drawn = draw_video(WORLD, "davis", "train", index)
        areas = np.stack([(drawn.shown == n).sum((1, 2)) for n in range(len(drawn.names))])
        seen = areas > 0
        # Seen, then not, then seen again.
        gone += sum(((np.diff(row.astype(int)) == 1) & ~row[:-1] & row.any()).any() and row[0] for row in seen)
        assert seen.all(1).any()  # One stays.
        moves = (drawn.shown[1:] != drawn.shown[:-1]).mean((1, 2))
        assert (moves > 0).mean() > 0.8 and moves.max() < 0.5
    assert gone >= 3


@pytest.mark.parametrize("layout", ["davis", "sa_v"])
def test_data_validate_finds_nothing(root, layout):
    report, _ = validate_dataset(lambda: opened(root, layout), title="m")
    assert report.errors == 0 and not report.survey.problems


def test_an_odd_side_is_refused(tmp_path):
    one_line(lambda: write_world(tmp_path / "odd", World(size=33), WITH_VIDEOS, workers=1), "size is 33", "even")
    assert not list(tmp_path.iterdir())
