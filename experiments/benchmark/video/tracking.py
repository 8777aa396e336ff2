"""Times a frame of a tracked video beside transformers' SAM 2 in torch, with the same random weights in the same run.

python -m experiments.benchmark --part=video

The model is SAM 2.1's Hiera tiny, on frames of 512 x 512 pixels that are drawn here; --small one for tests. Each object
has a point on the first frame. A frame is: pixels to features, memory, masks of the frame's size, memory of the frame;
torch has normalised all frames before. Only frames with a full memory are timed: those after the first eight. The two
alternate, video by video.
"""

import argparse
import time
from collections.abc import Iterable

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video import VideoPredictor
from dataseg_jax.io.convert.sam2_video import convert_sam2_video
from experiments.benchmark.prompts.answering import synthetic
from experiments.benchmark.prompts.reference import MISSING, installed
from experiments.benchmark.rows import Row
from experiments.benchmark.video.reference import NAME, Reference

SIDE, SMALL_SIDE = 512, 128
SMALL = dict(
    backbone=dict(hidden_size=12, embed_dim_per_stage=[12, 24, 48, 96]),
    vision=dict(backbone_channel_list=[96, 48, 24, 12]),
)
FULL = 8  # Frames from the first on, until the memory has all that it holds.


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--objects", type=int, default=8, help="of the second video; the first has one")
    parser.add_argument("--frames", type=int, default=FULL + 3, help="of each video")
    parser.add_argument("--turns", type=int, default=2, help="how often each video is tracked")
    parser.add_argument("--small", action="store_true", help="a tiny backbone and small frames")


def run(flags: argparse.Namespace) -> list[Row]:
    """Compiles, times and measures. Raises InputError."""
    for name, least in (("objects", 2), ("frames", FULL + 1), ("turns", 1)):
        if getattr(flags, name) < least:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least {least}")
    if not installed():
        raise InputError(f"--part=video: {MISSING}; it has the weights, and is what the times are beside")
    side = SMALL_SIDE if flags.small else SIDE
    reference = Reference(side, **SMALL if flags.small else {})
    params, spec, _ = convert_sam2_video(reference.arrays(), NAME)
    predictor = VideoPredictor(params, spec, side)
    frames = moving(flags.frames, side)
    where = f"{'a tiny model' if flags.small else 'Hiera tiny'}, frames of {side}x{side}"
    rows, least = [], {}
    for objects in (1, flags.objects):
        points = np.random.default_rng(objects).uniform(0.2, 0.8, (objects, 2)) * side
        ours, theirs, differing = _tracked(predictor, reference, frames, points, flags.turns)
        what = f"a frame with {objects} object{'s' if objects > 1 else ''}, {where}"
        rows.append(Row(f"pixels that differ, {what}", 100 * differing, "%"))
        for name, of in (("least", np.min), ("median", np.median)):
            beside = f"{NAME} {1e3 * of(theirs):.4g} ms"
            rows.append(Row(f"{what}, {name}", 1e3 * of(ours), "ms", beside, of(theirs) / of(ours)))
        least[objects] = np.min(ours), np.min(theirs)
    ours, theirs = (several / one for one, several in zip(least[1], least[flags.objects], strict=True))
    what = f"a frame with {flags.objects} objects over one with one object"
    rows.append(Row(what, ours, "x", f"{NAME} {theirs:.4g} x", theirs / ours))
    rows.append(Row("state of an object, whatever the video's length", predictor.state_bytes() / 2**20, "MiB"))
    return rows


def moving(count: int, side: int) -> list[np.ndarray]:
    """`count` frames uint8[side, side, 3]: a picture that moves to the left, two pixels a frame."""
    wide = synthetic(side, side + 2 * count)
    return [np.ascontiguousarray(wide[:, 2 * t : 2 * t + side]) for t in range(count)]


def _tracked(predictor, reference, frames, points, turns) -> tuple[np.ndarray, np.ndarray, float]:
    """Seconds of every timed frame of both, and the share of the last frame's pixels in which their masks differ."""
    seconds: tuple[list[float], list[float]] = [], []
    for turn in range(turns + 1):  # The first compiles, and is not counted.
        session = predictor.start(frames, holes=0)
        for name, point in enumerate(points):
            session.add(0, name, points=[point])
        reference.start(frames, points)
        ours = (np.stack(list(masks.values())) for _, masks in session.propagate())
        last = []
        for masks, taken in zip((ours, reference.propagate()), seconds, strict=True):
            times, answer = _timed(masks)
            taken += times if turn else []
            last.append(answer)
    return *map(np.array, seconds), float((last[0] != last[1]).mean())


def _timed(masks: Iterable[np.ndarray]) -> tuple[list[float], np.ndarray]:
    """Seconds of the frames with a full memory, and the masks of the last one."""
    times, answer, began = [], None, time.perf_counter()
    for number, masks_of_frame in enumerate(masks):
        now = time.perf_counter()
        if number >= FULL:
            times.append(now - began)
        began, answer = now, masks_of_frame
    return times, answer
