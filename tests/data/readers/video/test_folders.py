"""DAVIS and YouTube-VOS: what their folders hold comes out frame by frame, and what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.example import NO_TARGET, VOID
from data.formats import find_vocabulary, open_source
from data.prepare.__main__ import main as prepare
from data.validate import validate_dataset, verdicts
from tests.data.conftest import noise
from tests.messages import one_line

IDS = {
    0: np.array([[1, 1, 0], [0, 2, 2]]),
    1: np.array([[0, 1, 1], [0, 0, 2]]),
    2: np.array([[255, 0, 1], [0, 0, 0]]),
    3: np.zeros((2, 3), int),
}
GROWN = np.ones((6, 6), int)  # So that images are no specks.


def png(path: Path, values: np.ndarray, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.kron(values, GROWN).astype(np.uint8))
    if palette:
        image = Image.fromarray(np.array(image), "P")
        image.putpalette(list(range(256)) * 3)
    image.save(path)


def write(root: Path, key: str, frames: int = 6, middle: str = "", scale: int = 1) -> None:
    """A video of 6 frames, of which 0, 1, 3 and 5 have PNGs."""
    for frame in range(frames):
        path = root / "JPEGImages" / middle / key / f"{frame:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(frame + 100 * (key == "bee"), 12, 18)).save(path)
    for values, frame in zip(IDS.values(), (0, 1, 3, 5), strict=True):
        values = np.where(values == 1, 255, 0) if scale > 1 else values
        png(root / "Annotations" / middle / key / f"{frame:05d}.png", values)


def opened(root, format="youtube_vos", **more):
    return open_source(format, str(root), find_vocabulary("", format, str(root), name="mine"), name="mine", **more)


@pytest.fixture
def root(tmp_path) -> Path:
    write(tmp_path, "ape")
    write(tmp_path, "bee")
    return tmp_path


def test_frames_and_masks(root):
    source = opened(root)
    assert len(source) == 2
    video = source.open(1)
    assert (video.key, video.length, video.annotated, video.objects) == ("bee", 6, (0, 1, 3, 5), None)
    for frame, image in zip((1, 2, 5), video.images([1, 2, 5]), strict=True):
        np.testing.assert_array_equal(image, noise(100 + frame, 12, 18))
    for values, frame in zip(IDS.values(), video.annotated, strict=True):
        found = video.masks(frame)
        assert sorted(found) == sorted(set(values.ravel().tolist()) - {0, 255})
        for number, mask in found.items():
            np.testing.assert_array_equal(mask, np.kron(values == number, GROWN))
    assert sorted(video.masks(0, [2, 9])) == [2]


def test_the_still_of_a_video_is_its_first_annotated_frame(root):
    (root / "Annotations/ape/00000.png").unlink()
    (root / "Annotations/ape/00001.png").unlink()
    example = opened(root)[0]
    np.testing.assert_array_equal(example.image, noise(3, 12, 18))
    assert example.labels.tolist() == [0] and opened(root).record(0).where == "image ape"
    np.testing.assert_array_equal(
        example.segments, np.kron(np.select([IDS[2] == 1, IDS[2] == 255], [0, VOID], NO_TARGET), GROWN)
    )
    assert example.boxes.tolist() == [[12, 0, 18, 6]]


def test_davis_of_both_years(tmp_path):
    write(tmp_path, "bear", middle="480p")
    write(tmp_path, "camel", middle="480p", scale=255)
    sets = tmp_path / "ImageSets"
    (sets / "2017").mkdir(parents=True)
    (sets / "2017/train.txt").write_text("camel\n\nbear\n")
    (sets / "480p").mkdir()
    (sets / "480p/train.txt").write_text(
        "".join(f"/JPEGImages/480p/camel/{k:05d}.jpg /Annotations/480p/camel/{k:05d}.png\n" for k in range(3))
    )
    both = opened(tmp_path, "davis", split="ImageSets/2017/train.txt")
    assert [both.open(k).key for k in range(len(both))] == ["bear", "camel"] and len(opened(tmp_path, "davis")) == 2
    old = opened(tmp_path, "davis", split="ImageSets/480p/train.txt")
    assert len(old) == 1
    video = old.open(0)
    assert [sorted(video.masks(frame)) for frame in video.annotated] == [[1], [1], [1], []]
    np.testing.assert_array_equal(video.masks(1)[1], np.kron(IDS[1] == 1, GROWN))
    # 255 is unknown where the first frame shows other objects, whatever a later frame shows alone.
    png(tmp_path / "Annotations/480p/bear/00003.png", np.where(IDS[2] == 255, 255, 0))
    assert both.open(0).masks(3) == {}


def test_limits_lists_and_what_is_missing(root, tmp_path):
    assert len(opened(root, limit=1)) == 1
    (root / "list.txt").write_text("bee\ncow\n")
    one_line(lambda: opened(root, split="list.txt")[1], "cow", "does not exist")
    (root / "list.txt").write_text("../bee\n")
    one_line(lambda: opened(root, split="list.txt"), "list.txt", "leads out of the folder")
    (root / "list.txt").write_text("\n")
    one_line(lambda: opened(root, split="list.txt"), "list.txt: is empty")
    (root / "JPEGImages/ape/00003.png").unlink()
    one_line(lambda: opened(root).open(0), "ape/00003.png: has no frame 00003")
    (root / "Annotations/bee/00005.png").write_bytes(b"none")
    one_line(lambda: opened(root).open(1).masks(5), "bee/00005.png")
    (root / "Annotations/cow").mkdir()
    (root / "JPEGImages/cow").mkdir()
    one_line(lambda: opened(root).open(2), "cow: holds no .png file")
    (root / "none/Annotations").mkdir(parents=True)
    (root / "none/JPEGImages").mkdir()
    one_line(lambda: opened(root / "none"), "holds no folder")


def test_a_frame_behind_a_link_that_leads_out_is_refused(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "00003.png"
    Image.fromarray(noise(0, 12, 18)).save(other)
    (root / "JPEGImages/ape/00003.png").unlink()
    (root / "JPEGImages/ape/00003.png").symlink_to(other)
    one_line(lambda: list(opened(root).open(0).images([3])), "00003.png", "leads to")


@pytest.mark.parametrize(("content", "message"), [
    ([], "holds [], not an object"),
    ({}, 'no object "videos"'),
    ({"videos": {"ape": []}}, "video 'ape': has no object \"objects\""),
    ({"videos": {"ape": {"objects": {"one": {}}}}}, "object 'one' is no number"),
])  # fmt: skip
def test_lists_of_objects_that_are_none(root, content, message):
    (root / "meta.json").write_text(json.dumps(content))
    one_line(lambda: opened(root), "meta.json", message)


def problems(root, format="youtube_vos"):
    report, _ = validate_dataset(lambda: opened(root, format), title="mine")
    return [(problem.fatal, str(problem)) for problem in report.survey.problems]


def test_data_validate_looks_at_every_frame(root):
    assert problems(root) == []
    objects = {"objects": {"1": {"category": "ape", "frames": ["00000"]}}}
    (root / "meta.json").write_text(json.dumps({"videos": {"bee": objects}}))
    (root / "JPEGImages/ape/00005.png").write_bytes(b"none")
    png(root / "Annotations/ape/00003.png", np.ones((3, 3), int))
    Image.fromarray(noise(1, 10, 18)).save(root / "JPEGImages/ape/00001.png")
    found = problems(root)
    assert [fatal for fatal, _ in found] == [True, True, True, True, False]
    for (_, text), parts in zip(found, [
        ("frame 1 is 18x10, but the first annotated one is 18x12",),
        ("frame 5: ", "ape/00005.png", "cannot be decoded"),
        ("frame 1: its masks are 18x12, but it is 18x10",),
        ("frame 3: its masks are 18x18",),
        ("bee", "show objects 2, which the list of objects lacks"),
    ], strict=True):  # fmt: skip
        assert all(part in text for part in parts), text


def test_a_video_without_an_object_is_reported(root):
    for path in (root / "Annotations/ape").iterdir():
        png(path, np.zeros((2, 3), int))
    assert [(fatal, "shows an object" in text) for fatal, text in problems(root)] == [(False, True)]


def test_a_verdict_is_of_all_frames(root, monkeypatch, tmp_path_factory):
    """A dataset that was found sound is looked at again where any frame or mask has changed."""
    monkeypatch.setenv("DATASEG_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(verdicts, "SETTLED", 0.0)

    def known():
        return len(verdicts.require_sound_once([opened(root)])) == 1

    assert not known() and known()
    for path in (root / "JPEGImages/ape/00005.png", root / "Annotations/bee/00003.png"):
        path.write_bytes(path.read_bytes())
        assert not known() and known()


def test_data_prepare_refuses_videos(root, tmp_path, capsys):
    assert prepare(["--format=youtube_vos", f"--root={root}", "--name=mine", f"--out={tmp_path / 'out'}"]) == 1
    said = capsys.readouterr().err
    assert "mine: " in said and "holds videos" in said and "Traceback" not in said
