"""experiments.track as users run it, with a small model of random weights: files in, PNGs and a video out."""

import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from data.shapes import World, draw
from data.shapes.phrases import describe
from dataseg_jax import Predictor, VideoPredictor
from dataseg_jax.commands.track.files import TrackFiles
from dataseg_jax.commands.track.prompts import read_prompts
from dataseg_jax.commands.track.words import numbered
from dataseg_jax.errors import InputError
from dataseg_jax.io.checkpoint import Checkpoint, record_of
from dataseg_jax.io.image_files import write_image
from dataseg_jax.io.video_frames import open_frames
from dataseg_jax.metrics.clicks import iou
from tests.dataseg_jax.inference.video.toy import SIDE, SIZE, SPEC, predictor, video

ROOT = pathlib.Path(__file__).parents[3]
FRAMES = 6
WORLD = World(seed=2026)


def track(*arguments):
    command = [sys.executable, "-m", "experiments.track", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for i, frame in enumerate(video(FRAMES)):
        write_image(folder / f"{i}.png", frame)
    (folder / "4.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run's newest checkpoint, as training writes it."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "1"
    (folder / "model").mkdir(parents=True)
    params = predictor()._programs.params
    record = record_of(Checkpoint(1, SPEC, {}, SIDE, "", {}, {}))
    (folder / "model" / "model.json").write_text(json.dumps(record))
    with ocp.PyTreeCheckpointer() as files:
        files.save(folder / "state", {"params": params, "step": np.int64(1), "opt_state": {}})
    return folder.parents[1]


@pytest.mark.slow
def test_masks_and_overlay_are_those_of_the_session(frames, workdir, tmp_path):
    first = tmp_path / "first.png"
    given = np.zeros(SIZE, np.uint8)
    given[8:40, 40:72] = 7
    given[0, 0] = 255
    Image.fromarray(given).save(first)
    done = track(
        f"--workdir={workdir}", f"--frames={frames}", f"--out={tmp_path / 'out'}", "--points=2:1:20,20;2:1:60,30,0",
        f"--masks=1:{first}",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"5 frames, 2 objects, 1 frames failed: {tmp_path / 'out'}" in done.stdout
    assert "failed: frame 4 is skipped" in done.stderr and "Traceback" not in done.stderr
    session = VideoPredictor.from_checkpoint(workdir).start(frames, overlap=False, report=lambda line: None)
    session.add(1, 7, mask=given == 7)
    session.add(2, 1, points=[[20, 20], [60, 30]], labels=[1, 0])
    expected = dict(session.propagate()) | dict(session.propagate(reverse=True, start=1))
    assert sorted(expected) == [0, 1, 2, 3, 5]
    folder = tmp_path / "out" / "masks"
    assert sorted(path.name for path in folder.iterdir()) == [f"{i}.png" for i in sorted(expected)]
    for frame, masks in expected.items():
        image = Image.open(folder / f"{frame}.png")
        ids = np.asarray(image)
        assert image.mode == "P" and ids.max() > 0
        for name, mask in masks.items():
            np.testing.assert_array_equal(ids == name, mask)
    overlay = cv2.VideoCapture(str(tmp_path / "out" / "overlay.mp4"))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and overlay.get(cv2.CAP_PROP_FRAME_WIDTH) == SIZE[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["masks", "objects.json", "overlay.mp4"]
    assert json.loads((tmp_path / "out" / "objects.json").read_text()) == [{"id": 7, "name": ""}, {"id": 1, "name": ""}]


def test_bad_input_is_one_line(frames, tmp_path):
    done = track(f"--weights={tmp_path / 'none.pt'}", f"--frames={frames}", f"--out={tmp_path}", "--points=0:1:5,5")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and "none.pt" in done.stderr


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "no prompt: give --points, --boxes, --masks, --phrases or --words"),
        (["--phrases=a cat"], "--phrases and --words need --words_checkpoint, a model with text"),
        (["--points=0:1:5,5", "--words_checkpoint=family"], "--words_checkpoint: nothing to find with it"),
    ],
)
def test_flags_that_do_not_go_together(flags, message, frames, tmp_path):
    done = track("--weights=none.pt", f"--frames={frames}", f"--out={tmp_path}", *flags)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and message in done.stderr


@pytest.mark.slow
def test_objects_by_words(workdir, tmp_path):
    """The mask of a phrase is that of the model with text; a phrase without an answer is reported."""
    scene = draw(WORLD, "referring", "val", 0)
    (tmp_path / "frames").mkdir()
    for i in range(2):
        write_image(tmp_path / "frames" / f"{i}.png", scene.image)
    phrases, absent = describe(scene, WORLD, np.random.default_rng(0))
    texts = [*(texts[0] for texts in phrases.values()), *absent]
    answer = Predictor.from_pretrained("family")(scene.image, task="referring", phrases=texts)
    found = {segment.name: answer.mask(segment) for segment in answer.segments}
    text = max(found, key=lambda name: found[name].sum())
    missing = next(name for name in texts if name not in found)
    done = track(
        f"--workdir={workdir}", f"--frames={tmp_path / 'frames'}", f"--out={tmp_path / 'out'}", "--points=0:1:5,5",
        "--words_checkpoint=family", f"--phrases={text},{missing}", "--seek=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{missing!r} is not found on frame 0" in done.stderr and "2 frames, 2 objects" in done.stdout
    objects = json.loads((tmp_path / "out" / "objects.json").read_text())
    assert objects == [{"id": 1, "name": ""}, {"id": 2, "name": text, "found_by": text, "frame": 0}]
    shown = np.asarray(Image.open(tmp_path / "out" / "masks" / "0.png")) == 2
    assert iou(found[text], shown) > 0.4  # The point's object may be in front, and a cell has 4 x 4 pixels.


def test_names_are_written_into_the_overlay(tmp_path):
    """Inside the object that has one, in light and dark; the others have their colour alone."""
    mask, painted = np.zeros((120, 240), bool), {}
    mask[20:100, 20:200] = True
    for name in ("", "red disc"):
        files = TrackFiles(str(tmp_path / name), open_frames([np.full((120, 240, 3), 90, np.uint8)]), {4: name})
        files.write(0, {4: mask})
        painted[name] = files._painted(np.full((120, 240, 3), 90, np.uint8), 0)
    changed = (painted[""] != painted["red disc"]).any(-1)
    assert len(np.unique(painted[""].reshape(-1, 3), axis=0)) == 2 and (painted[""][~mask] == 90).all()
    assert 20 < changed.sum() < 0.2 * mask.sum() and not changed[~mask].any()


def test_numbers_of_objects():
    assert numbered(("cat", 1, 3, "cat 2")) == {"cat": 2, 1: 1, 3: 3, "cat 2": 4}
    with pytest.raises(InputError, match="255 objects are found; a PNG has room for 254"):
        numbered(tuple(map(str, range(255))))


def test_prompts_of_the_command_line(tmp_path):
    Image.fromarray(np.uint8([[0, 2], [3, 255]])).save(tmp_path / "two.png")
    prompts = read_prompts("0:1:5,6 0:1:7,8.5,0;4:2:1,1", "0:1:1,2,3,4", f"9:{tmp_path / 'two.png'}")
    assert prompts.keys() == {(0, 1), (4, 2), (9, 2), (9, 3)}
    assert prompts[0, 1] == dict(box=[1, 2, 3, 4], points=[[5, 6], [7, 8.5]], labels=[1, 0])
    assert prompts[4, 2] == dict(points=[[1, 1]], labels=[1])
    assert prompts[9, 3]["mask"].tolist() == [[False, False], [True, False]]


BAD = {
    "point": (("0:1:5", "", ""), "--points: '0:1:5' is not FRAME:OBJECT:X,Y"),
    "no frame": (("-1:1:5,5", "", ""), "--points: '-1:1:5,5' is not"),
    "nan": (("0:1:nan,5", "", ""), "--points: '0:1:nan,5' is not"),
    "label": (("0:1:5,5,2", "", ""), "has the label 2; it is 1 on the object, 0 off it"),
    "object": (("0:255:5,5", "", ""), "objects are 1 to 254"),
    "box": (("", "0:1:5,5", ""), "--boxes: '0:1:5,5' is not FRAME:OBJECT:X0,Y0,X1,Y1"),
    "two boxes": (("", "0:1:1,1,2,2 0:1:1,1,3,3", ""), "object 1 has another box or mask on frame 0"),
    "mask": (("", "", "first.png"), "--masks: 'first.png' is not FRAME:FILE"),
    "no mask": (("", "", "0:nowhere.png"), "nowhere.png: no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_prompts_that_cannot_be_used(case):
    arguments, message = BAD[case]
    with pytest.raises(InputError, match=message):
        read_prompts(*arguments)


def test_masks_that_cannot_be_used(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no image")
    for name, message in ("rgb.png", "mode RGB"), ("empty.png", "has no object"), ("text.png", "cannot be read as"):
        with pytest.raises(InputError, match=message):
            read_prompts("", "", f"0:{tmp_path / name}")
    Image.fromarray(np.uint8([[1]])).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="has a mask on this frame, which goes alone"):
        read_prompts("0:1:0,0", "", f"0:{tmp_path / 'one.png'}")
