"""Frames that come once, frames that cannot be read, input that cannot be used, and memory that stays the same."""

import dataclasses
import gc
import resource

import numpy as np
import pytest

from dataseg_jax import VideoPredictor
from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.prompted import Spans
from dataseg_jax.inference.video.snapshots import LIMIT
from dataseg_jax.io.image_files import write_image
from tests.dataseg_jax.inference.video.test_session import BOX, POINT, same
from tests.dataseg_jax.inference.video.toy import SIDE, SIZE, SPEC, predictor, tracked, video


def test_an_iterator_is_a_sequence_that_comes_once():
    """But for the times of pointers, which a video of known length below 16 frames has of its own."""
    frames = video(18)
    stream, held = predictor().start(iter(frames)), predictor().start(frames)
    for session in (stream, held):
        session.add(0, "a", **POINT)
    same(tracked(stream), tracked(held))


def test_a_frame_of_an_iterator_is_prompted_again_while_it_is_kept():
    session = predictor().start(iter(video(12)), keep=6, snapshot_every=3)
    session.add(0, "a", **POINT)
    passed = []
    for frame, _ in session.propagate():
        passed.append(frame)
        if passed == list(range(9)):
            session.add(6, "a", points=[[60, 30]], labels=[0])
            with pytest.raises(InputError, match="frame 2 is gone: .* the last 6 are kept, now from 3 on"):
                session.add(2, "a", **BOX)
            with pytest.raises(InputError, match="frame 10 has not come yet: of an iterator frames up to 8 were read"):
                session.add(10, "a", **BOX)
    assert passed == [*range(9), *range(6, 12)]
    with pytest.raises(InputError, match="frame 0 is gone"):
        next(session.propagate(start=0))


def test_frames_that_cannot_be_read_are_reported_and_skipped(tmp_path):
    frames, lines = video(7), []
    for i, frame in enumerate(frames):
        write_image(tmp_path / f"{i:03}.png", frame)
    (tmp_path / "003.png").write_bytes(b"no image")
    session = predictor().start(tmp_path, report=lines.append)
    session.add(0, "a", **POINT)
    out = tracked(session)
    assert list(out) == [0, 1, 2, 4, 5, 6] and session.failures == 1 and session.failed[0][0] == 3
    assert len(lines) == 1 and lines[0].startswith("frame 3 is skipped: ") and "003.png" in lines[0]
    with pytest.raises(InputError, match=r"003.png: cannot be read as an image"):
        session.add(3, "a", **BOX)
    broken = predictor().start(iter([*frames[:3], "no image", *frames[4:]]), report=lines.append)
    broken.add(0, "a", **POINT)
    assert list(tracked(broken)) == [0, 1, 2, 4, 5, 6]
    quiet = predictor().start(iter([*frames[:1], np.zeros((4, 4)), *frames[1:]]))
    quiet.add(0, "a", **POINT)
    with pytest.warns(UserWarning, match=r"frame 1 is skipped: frame 1 is float64\[4, 4\]"):
        list(quiet.propagate())


def test_frames_of_several_sizes():
    frames = [*video(2), *video(2, size=(60, 40))]
    session = predictor().start(frames)
    session.add(0, "a", **POINT)
    assert [masks["a"].shape for _, masks in session.propagate()] == [SIZE, SIZE, (60, 40), (60, 40)]


BAD = {
    "nothing": ({}, "no prompt: give points, a box or a mask"),
    "outside": (dict(points=[[200, 5]]), r"it must lie within the image, which is 80 wide and 48 high"),
    "form": (dict(points=[1, 2]), r"points: int64\[2\]; they must be float\[M, 2\]"),
    "labels": (dict(points=[[1, 2]], labels=[1, 0]), r"labels are \[2\]; for 1 points they must be \[1\]"),
    "a label": (dict(points=[[1, 2]], labels=[5]), "labels have 5; a label is 1 on the object"),
    "box": (dict(box=[5, 5, 1, 1]), r"boxes\[0\] is \[5, 5, 1, 1\]; it must be x0 y0 x1 y1"),
    "ragged": (dict(points=[[1, 2], [3]]), "points are no array"),
    "mask": (dict(mask=np.zeros((3, 3), bool)), r"mask is bool\[3, 3\]; it must be bool\[48, 80\]"),
    "two": (dict(mask=np.zeros(SIZE, bool), **POINT), "a mask goes alone"),
}


@pytest.mark.parametrize("case", BAD)
def test_prompts_that_cannot_be_used(case):
    prompt, message = BAD[case]
    session = predictor().start(video(2))
    with pytest.raises(InputError, match=message):
        session.add(0, "a", **prompt)
    assert session.objects == ()


def test_other_input_that_cannot_be_used():
    session = predictor().start(video(2))
    for frame, message in ((-1, "frame -1: it must be a number"), (1.5, "frame 1.5"), (2, "the video ends before it")):
        with pytest.raises(InputError, match=message):
            session.add(frame, "a", **POINT)
    with pytest.raises(InputError, match="there is no object"):
        next(session.propagate())
    with pytest.raises(InputError, match="object 'x' is not tracked"):
        session.remove("x")
    with pytest.raises(InputError, match="must be a name or a number"):
        session.add(0, [], **POINT)
    with pytest.raises(InputError, match="unknown rule 'speed'"):
        predictor().start(video(2), speed=2)
    with pytest.raises(InputError, match="keep=0: it must be at least 1"):
        predictor().start(video(2), keep=0)
    with pytest.raises(InputError, match="it has no model.memory"):
        VideoPredictor({}, dataclasses.replace(SPEC, memory={}), SIDE)


def test_a_pass_ends_the_pass_before():
    session = predictor().start(video(4))
    session.add(0, "a", **POINT)
    first = session.propagate()
    next(first)
    next(session.propagate())
    with pytest.raises(InputError, match="another propagate"):
        next(first)


def test_spans_are_sets():
    rng = np.random.default_rng(0)
    for _ in range(50):
        spans, known = Spans(), set()
        for frame in map(int, rng.integers(0, 30, 20)):
            spans.add(frame)
            known.add(frame)
            assert [t in spans for t in range(31)] == [t in known for t in range(31)]
        assert len(spans._spans) == len([t for t in known if t + 1 not in known])


@pytest.mark.slow
def test_memory_stays_the_same_along_a_long_video():
    """Peak memory after 500 frames and after 5,000; snapshots are as many as their limit."""

    def frames():
        rng = np.random.default_rng(0)
        for _ in range(5000):
            yield rng.integers(0, 256, (*SIZE, 3), np.uint8)

    def peak():
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB.

    session, peaks = predictor().start(frames()), {}
    session.add(0, "a", **POINT)
    session.add(0, "b", **BOX)
    for frame, _ in session.propagate(rle=True):
        if frame in (500, 4999):
            peaks[frame] = peak()
        assert len(session._track._snapshots) <= LIMIT
    assert peaks[4999] - peaks[500] < 8, peaks
