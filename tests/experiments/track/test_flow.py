"""Masks carried by optical flow follow what moves, and lose what leaves."""

import cv2
import numpy as np

from dataseg_jax.metrics.clicks import iou
from experiments.track.flow import carried
from experiments.track.known_video import KnownVideo
from experiments.track.scoring import BESIDE, VideoScorer


def moving(count, step, size=(96, 120)):
    """A textured square on a texture, `step` pixels further in x each frame: frames, and its masks bool[H, W]."""
    rng = np.random.default_rng(0)
    ground, square = (cv2.GaussianBlur(rng.integers(0, 256, (*s, 3)).astype(np.uint8), (0, 0), 1.5)
                      for s in (size, (30, 30)))  # fmt: skip
    frames, masks = [], []
    for t in range(count):
        move = np.float32([[1, 0, 40 + step * t], [0, 1, 30]])
        cover = cv2.warpAffine(np.ones((30, 30), np.float32), move, size[::-1])[..., None]
        shown = cv2.warpAffine(square, move, size[::-1])
        frames.append(np.uint8(cover * (0.3 * shown + 150) + (1 - cover) * 0.5 * ground))
        masks.append(cover[..., 0] > 0.5)
    return frames, masks


def test_a_still_video_keeps_its_ids():
    frames, masks = moving(3, 0.0)
    ids = np.where(masks[0], 300, 2).astype(np.int32)
    found = carried(frames, ids, [0, 1, 2])
    assert found.dtype == np.int32
    for one in found:
        np.testing.assert_array_equal(one, ids)


def test_what_moves_is_followed():
    """Also by a third of a pixel a frame, which rounding in each frame would lose."""
    for step, count in (3.0, 8), (0.34, 24):
        frames, masks = moving(count, step)
        found = carried(frames, masks[0].astype(np.int32), [0, count - 1])
        copied, followed = (iou(masks[-1], mask != 0) for mask in found)
        assert followed > 0.85 > copied


def test_what_comes_from_outside_has_no_object():
    """The camera moves to the left by 4 pixels a frame: what comes in there is new, the rest has moved."""
    wide = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (64, 160, 3)).astype(np.uint8), (0, 0), 2)
    frames = [wide[:, 60 - 4 * t : 150 - 4 * t] for t in range(6)]
    ids = np.full((64, 90), 5, np.int32)
    last = carried(frames, ids, [5])[0]
    assert (last[:, 24:] == 5).mean() > 0.95 and (last[:, :16] == 0).mean() > 0.95


def test_videos_are_scored_with_it():
    frames, masks = moving(5, 3.0)
    known = KnownVideo(frames, np.stack(masks).astype(np.int32), list(range(5)))
    answer = VideoScorer._flow(None, known)
    assert BESIDE["flow"] == "flow_mask_jf" and iou(masks[-1], answer[-1] == 1) > 0.85
