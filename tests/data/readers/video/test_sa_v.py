"""SA-V: MP4 files and run lengths on every fourth frame; and SA-1B, whose images lie beside their JSONs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_utils

from data.formats import find_vocabulary, open_source
from data.validate import validate_dataset
from tests.data.conftest import assert_reads_back, noise
from tests.messages import one_line

HEIGHT, WIDTH, FRAMES = 48, 64, 10  # Frames 0, 4 and 8 are annotated.


def code(mask: np.ndarray) -> dict:
    found = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode()}


def masks(seed: int, objects: int = 2) -> np.ndarray:
    """bool[3, objects, H, W]: boxes that move and overlap; the second is gone in the last."""
    found = np.zeros((3, objects, HEIGHT, WIDTH), bool)
    for t in range(3):
        for number in range(objects):
            found[t, number, 5 + seed : 25, 4 * t + 8 * number : 30 + 4 * t] = True
    found[2, 1] = False
    return found


def content(truth: np.ndarray, **more) -> dict:
    stated = {"video_height": float(HEIGHT), "video_width": float(WIDTH), "video_frame_count": float(FRAMES)}
    return {"video_id": "sav_000001", **stated, "masklet": [[code(m) for m in frame] for frame in truth]} | more


def write_mp4(path: Path, frames: int = FRAMES) -> None:
    """Frame t has a gray level of 20 t."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 24, (WIDTH, HEIGHT))
    for t in range(frames):
        video.write(np.full((HEIGHT, WIDTH, 3), 20 * t, np.uint8))
    video.release()


@pytest.fixture
def root(tmp_path) -> Path:
    for number, shard in ((1, "sav_000"), (2, "sav_000"), (3, "sav_001")):
        path = tmp_path / shard / f"sav_00000{number}.mp4"
        write_mp4(path)
        (path.parent / f"{path.stem}_manual.json").write_text(json.dumps(content(masks(number))))
    automatic = tmp_path / "sav_000/sav_000002_auto.json"
    automatic.write_text(json.dumps(content(masks(6, objects=3), masklet_stability_score=[])))
    return tmp_path


def opened(root, format="sa_v", **more):
    return open_source(format, str(root), find_vocabulary("", format, str(root), name="mine"), name="mine", **more)


def file_of(root) -> Path:
    return root / "sav_000/sav_000001_manual.json"


def test_frames_and_masklets(root):
    source = opened(root)
    assert [source.open(k).key for k in range(3)] == ["sav_000001", "sav_000002", "sav_000003"]
    video = source.open(2)
    assert (video.length, video.annotated, video.objects) == (FRAMES, (0, 4, 8), {0, 1})
    levels = [image.mean() for image in video.images([0, 3, 4, 9])]
    assert levels == pytest.approx([0, 60, 80, 180], abs=3)
    for truth, frame in zip(masks(3), video.annotated, strict=True):
        found = video.masks(frame)
        assert sorted(found) == [number for number, mask in enumerate(truth) if mask.any()]
        for number, mask in found.items():
            np.testing.assert_array_equal(mask, truth[number])
    assert sorted(video.masks(0, [1])) == [1]


def test_the_still_is_the_first_frame_and_its_masks_overlap(root):
    example = opened(root)[1]
    assert example.image.shape == (HEIGHT, WIDTH, 3) and example.image.max() < 5
    np.testing.assert_array_equal(np.array(example.masks), masks(2)[0])


def test_manual_automatic_or_both(root):
    assert len(opened(root, annotations="auto")) == 1
    both = opened(root, annotations="both").open(0)
    assert both.objects == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(both.masks(4)[1], masks(2)[1, 1])
    np.testing.assert_array_equal(both.masks(4)[2], masks(6, 3)[1, 0])
    one_line(lambda: opened(root, annotations="all"), "must be one of manual, auto, both")
    # Two of different length are not of one video.
    short = content(masks(6, 3)[:2])
    (root / "sav_000/sav_000002_auto.json").write_text(json.dumps(short))
    one_line(lambda: opened(root, annotations="both").open(0), "sav_000002_auto.json: states another size")


def test_frames_of_which_an_object_is_not_annotated_do_not_count(root):
    some = content(masks(1))
    some["masklet"][0], some["masklet"][1][0] = None, None
    file_of(root).write_text(json.dumps(some))
    assert opened(root).open(0).annotated == (8,)
    assert opened(root)[0].image.mean() == pytest.approx(160, abs=3)


BAD = {
    "no masklet": ({"masklet": None}, '"masklet" is None'),
    "a masklet that is no list": ({"masklet": [{}]}, "masklet 0 is {}"),
    "other objects": ({"masklet": [[None], []]}, "masklets have [0, 1] objects"),
    "nothing annotated": ({"masklet": [[None], [None]]}, "annotates no frame"),
    "more frames than the video": ({"video_frame_count": 8}, "states 8 frames of 64x48, and has masklets of 3"),
    "no size": ({"video_height": None}, "states 10 frames of 64x0"),
    "a size that is none": ({"video_width": "wide"}, "video_height, video_width and video_frame_count"),
    "a size without end": ({"video_width": float("inf")}, "video_height, video_width and video_frame_count"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_masklets_that_are_none(root, change, message):
    file_of(root).write_text(json.dumps(content(masks(1)) | change))
    one_line(lambda: opened(root).open(0), "sav_000001_manual.json: ", message)
    one_line(lambda: opened(root)[0], "sav_000001_manual.json: ", message)


def test_run_lengths_of_another_size_are_named(root):
    wrong = content(masks(1))
    wrong["masklet"][1][1]["size"] = [HEIGHT, WIDTH + 1]
    file_of(root).write_text(json.dumps(wrong))
    one_line(lambda: opened(root).open(0).masks(4), "sav_000001_manual.json: frame 4: object 1: its RLE is 65x48")
    assert sorted(opened(root).open(0).masks(4, [0])) == [0]


def test_videos_that_are_none(root):
    path = root / "sav_000/sav_000001.mp4"
    write_mp4(path, frames=6)
    one_line(lambda: list(opened(root).open(0).images([0, 8])), "sav_000001.mp4: ends after 6 frames", "frame 8")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    one_line(lambda: list(opened(root).open(0).images([0])), "sav_000001.mp4: ", "cannot be decoded")
    path.write_bytes(b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    one_line(lambda: list(opened(root).open(0).images([0])), "sav_000001.mp4: is no MP4 file")
    changed = content(np.zeros((3, 1, 20, 20), bool), video_height=20, video_width=20)
    write_mp4(path)
    file_of(root).write_text(json.dumps(changed))
    one_line(lambda: list(opened(root).open(0).images([0])), "sav_000001.mp4: is 64x48", "states 20x20")
    one_line(lambda: opened(root / "sav_001", annotations="auto"), "holds no <id>.mp4 with <id>_auto.json")
    (root / "sav_001/sav_000001.mp4").write_bytes(whole)
    one_line(lambda: opened(root), "sav_001/sav_000001.mp4: ", "has the same id")


def problems(root, format="sa_v"):
    report, _ = validate_dataset(lambda: opened(root, format), title="mine")
    return [str(problem) for problem in report.survey.problems if problem.fatal]


def test_data_validate_looks_at_every_frame(root):
    assert problems(root) == []
    wrong = content(masks(1))
    wrong["masklet"][2][0]["counts"] = "0"
    file_of(root).write_text(json.dumps(wrong))
    write_mp4(root / "sav_000/sav_000002.mp4", frames=5)
    (found, other) = problems(root)
    assert "sav_000001_manual.json: image sav_000001: frame 8: " in found and "object 0: the counts" in found
    assert "frame 8: " in other and "sav_000002.mp4: ends after 5 frames" in other


def sa_1b(root: Path, shard: str, number: int, found: np.ndarray, **image) -> Path:
    stem = root / shard / f"sa_{number}"
    stem.parent.mkdir(exist_ok=True)
    cv2.imwrite(f"{stem}.jpg", noise(number, HEIGHT, WIDTH))
    stated = {"image_id": number, "file_name": f"sa_{number}.jpg", "height": HEIGHT, "width": WIDTH} | image
    annotations = [{"id": k, "segmentation": code(mask), "predicted_iou": 0.9} for k, mask in enumerate(found)]
    path = stem.with_suffix(".json")
    path.write_text(json.dumps({"image": stated, "annotations": annotations}))
    return path


def test_sa_1b_is_a_set_of_images(tmp_path):
    for shard, number in (("sa_000", 20), ("sa_000", 3), ("sa_001", 100)):
        sa_1b(tmp_path, shard, number, masks(number % 7)[0])
    source = opened(tmp_path, "sa_1b")
    assert [source[k].image_id for k in range(3)] == [3, 20, 100] and source.overlapping
    for example in source:
        assert example.labels.tolist() == [0, 0]
        np.testing.assert_array_equal(np.array(example.masks), masks(example.image_id % 7)[0])
    assert len(opened(tmp_path, "sa_1b", images="sa_000")) == 2 and len(opened(tmp_path, "sa_1b", limit=1)) == 1
    assert problems(tmp_path, "sa_1b") == []


def test_what_is_wrong_with_sa_1b_is_named(tmp_path):
    path = sa_1b(tmp_path, "sa_000", 3, masks(0)[0], height=HEIGHT + 1)
    one_line(lambda: opened(tmp_path, "sa_1b")[0], "image 3: the file states 64x49")
    path.write_text(json.dumps({"image": {}, "annotations": [{"id": 1}]}))
    one_line(lambda: opened(tmp_path, "sa_1b")[0], "sa_3.json: annotation number 0", "needs a segmentation")
    path.write_text(json.dumps([]))
    one_line(lambda: opened(tmp_path, "sa_1b")[0], "sa_3.json: is no record of SA-1B")
    path.write_text(json.dumps({"image": 1, "annotations": []}))
    one_line(lambda: opened(tmp_path, "sa_1b")[0], 'sa_3.json: needs an object "image"')
    sa_1b(tmp_path, "sa_001", 3, masks(0)[0])
    one_line(lambda: opened(tmp_path, "sa_1b"), "has the same number")
    path.unlink()
    one_line(lambda: opened(tmp_path, "sa_1b", images="sa_000"), "sa_3.jpg: has no .json beside it")
    (tmp_path / "sa_000/sa_3.jpg").unlink()
    one_line(lambda: opened(tmp_path, "sa_1b", images="sa_000"), "holds no sa_<number>.jpg")


def test_sa_1b_reads_back_from_data_prepare(root, tmp_path):
    sa_1b(root, "sa_000", 3, masks(0)[0])
    sa_1b(root, "sa_001", 4, masks(1)[0])
    assert_reads_back(opened(root, "sa_1b"), "sa_1b", root, tmp_path / "out")
