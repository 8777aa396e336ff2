"""A session on short videos: whatever order prompts come in, tracking is the same as if it had not been interrupted."""

import numpy as np
import pytest
from pycocotools import mask as coco

from tests.dataseg_jax.inference.video.toy import SIZE, predictor, tracked, video

POINT = dict(points=[[20, 20]])
BOX = dict(box=[10, 10, 50, 40])


def start(frames=8, **rules):
    return predictor().start(video(frames), **rules)


def same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for frame in one:
        assert one[frame].keys() == other[frame].keys()
        for name in one[frame]:
            np.testing.assert_allclose(one[frame][name], other[frame][name], rtol=tolerance, atol=tolerance)


def scattered():
    """A mask with an island, of half the frame."""
    mask = np.zeros(SIZE, bool)
    mask[8:40, 8:48] = True
    mask[4:8, 60:70] = True
    return mask


def test_masks_differ_from_frame_to_frame_and_fit():
    session = start()
    shown = session.add(0, "a", **POINT)
    assert shown.dtype == bool and shown.shape == SIZE and 0 < shown.mean() < 1
    frames = dict(session.propagate())
    assert list(frames) == list(range(8)) and session.objects == ("a",)
    np.testing.assert_array_equal(frames[0]["a"], shown)
    assert all(0 < masks["a"].mean() < 1 for masks in frames.values())
    assert len({masks["a"].tobytes() for masks in frames.values()}) > 4


def test_objects_in_one_batch_are_objects_one_by_one():
    prompts = {"point": POINT, "box": BOX, "mask": dict(mask=scattered())}
    together = start()
    for name, prompt in prompts.items():
        together.add(1, name, **prompt)
    together = tracked(together)
    assert list(together) == list(range(1, 8))
    for name, prompt in prompts.items():
        alone = start()
        alone.add(1, name, **prompt)
        alone = tracked(alone)
        same({t: {name: x[name]} for t, x in together.items()}, alone, 2e-4)


def test_more_prompted_frames_of_another_object_change_nothing():
    """They make room for more prompted frames in the bank, which is padding for the first object."""
    one, two = start(), start()
    for session in (one, two):
        session.add(0, "a", **POINT)
    one.add(0, "b", **BOX)
    two.add(0, "b", **BOX)
    two.add(3, "b", **BOX)
    one, two = tracked(one), tracked(two)
    same(*({t: {"a": x["a"]} for t, x in frames.items()} for frames in (one, two)), 2e-4)
    assert np.abs(one[5]["b"] - two[5]["b"]).max() > 1e-3


@pytest.mark.parametrize("place", [0, 5, 9, 12])
def test_a_rewind_is_an_uninterrupted_run_to_the_bit(place):
    session = start(14, snapshot_every=4)
    session.add(0, "a", **POINT)
    whole = tracked(session)
    again = tracked(session, start=place)
    same({t: x for t, x in whole.items() if t >= place}, again)


def test_a_pass_again_is_the_same_pass():
    session = start()
    session.add(2, "a", **POINT)
    first = tracked(session)
    same(first, tracked(session))


def test_a_correction_after_the_pass_is_a_correction_in_it():
    """Going back to frame 5 finds the state that frame 5 had."""
    in_loop, after = start(10, snapshot_every=4), start(10, snapshot_every=4)
    for session in (in_loop, after):
        session.add(0, "a", **POINT)
    out = {}
    for frame, _ in in_loop.propagate():
        out[frame] = {"a": np.asarray(in_loop._track.logits)[0].copy()}
        if frame == 5:
            shown = in_loop.add(5, "a", points=[[60, 30]], labels=[0])
    before = tracked(after)
    corrected = after.add(5, "a", points=[[60, 30]], labels=[0])
    np.testing.assert_array_equal(corrected, shown)
    rest = tracked(after)
    assert list(rest) == list(range(5, 10))
    same({t: rest[t] for t in range(6, 10)}, {t: out[t] for t in range(6, 10)})
    assert np.abs(rest[5]["a"] - before[5]["a"]).max() > 1e-3
    assert np.abs(rest[7]["a"] - before[7]["a"]).max() > 1e-4


def test_a_correction_of_a_past_frame_in_the_loop_goes_back_to_it():
    session, order = start(8, snapshot_every=2), []
    session.add(0, "a", **POINT)
    for frame, _ in session.propagate():
        order.append(frame)
        if order == [0, 1, 2, 3, 4, 5]:
            session.add(3, "a", points=[[60, 30]], labels=[0])
    assert order == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7]


def test_feedback_is_the_answer_so_far():
    """Without it a second click is as if both had been given at once; with it the first answer has a part."""

    def logits(session):
        return session._track.objects["a"].answers[0].logits

    with_feedback, without, both = start(2), start(2, feedback=False), start(2)
    for session in (with_feedback, without):
        session.add(0, "a", **POINT)
        session.add(0, "a", points=[[60, 30]], labels=[0])
    both.add(0, "a", points=[[20, 20], [60, 30]], labels=[1, 0])
    np.testing.assert_array_equal(logits(without), logits(both))
    assert np.abs(logits(with_feedback) - logits(both)).max() > 1e-3


def test_objects_come_and_go_in_the_loop():
    alone, session = start(), start()
    alone.add(0, "a", **POINT)
    alone = tracked(alone)
    session.add(0, "a", **POINT)
    seen, logits = {}, {}
    for frame, masks in session.propagate():
        seen[frame] = set(masks)
        logits[frame] = {"a": np.asarray(session._track.logits)[0].copy()} if "a" in masks else {}
        if frame == 2:
            session.add(2, "b", **BOX)
        if frame == 5:
            session.remove("a")
    assert list(seen.values()) == [{"a"}] * 3 + [{"a", "b"}] * 3 + [{"b"}] * 2
    same({t: alone[t] for t in range(6)}, {t: logits[t] for t in range(6)}, 2e-4)


def test_an_object_added_on_a_past_frame_starts_there():
    late, early = start(), start()
    early.add(0, "a", **POINT)
    early.add(2, "b", **BOX)
    early = tracked(early, start=2)
    late.add(0, "a", **POINT)
    order, out = [], {}
    for frame, masks in late.propagate():
        order.append(frame)
        if "b" in masks:
            out[frame] = {"b": np.asarray(late._track.logits)[1].copy()}
        if order == [0, 1, 2, 3, 4]:
            late.add(2, "b", **BOX)
    assert order == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7]
    same(out, {t: {"b": x["b"]} for t, x in early.items()}, 2e-4)


def test_reverse_is_forward_on_the_reversed_video():
    frames = video()
    back, forward = predictor().start(frames), predictor().start(frames[::-1])
    back.add(6, "a", **POINT)
    back.add(6, "b", **BOX)
    forward.add(1, "a", **POINT)
    forward.add(1, "b", **BOX)
    backward = tracked(back, reverse=True)
    assert list(backward) == [6, 5, 4, 3, 2, 1, 0]
    same({7 - t: x for t, x in backward.items()}, tracked(forward), 1e-5)


def test_prompts_of_the_future_count():
    """An object that is prompted later is tracked on the frames before it, as released."""
    one, two = start(), start()
    for session in (one, two):
        session.add(0, "a", **POINT)
    two.add(6, "a", mask=scattered())
    one, two = tracked(one), tracked(two, start=0)
    assert np.abs(one[3]["a"] - two[3]["a"]).max() > 1e-3
    np.testing.assert_array_equal(one[0]["a"], two[0]["a"])


def test_masks_are_the_logits_at_the_size_of_the_frame():
    """Bilinear, as torch; by a naive loop."""
    session = start(2)
    session.add(0, "a", **POINT)
    frame, masks = next(session.propagate())
    logits = np.asarray(session._track.logits)[0].astype(np.float64)
    cells = len(logits)
    expected = np.zeros(SIZE)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            v, u = (np.clip((p + 0.5) * cells / n - 0.5, 0, cells - 1) for p, n in ((y, SIZE[0]), (x, SIZE[1])))
            top, left = min(int(v), cells - 2), min(int(u), cells - 2)
            a, b = v - top, u - left
            part = logits[top : top + 2, left : left + 2]
            expected[y, x] = (np.array([1 - a, a]) @ part) @ np.array([1 - b, b])
    clear = np.abs(expected) > 1e-4
    assert frame == 0 and clear.mean() > 0.99
    np.testing.assert_array_equal(masks["a"][clear], (expected > 0)[clear])


def test_run_lengths_are_the_masks():
    session = start(3)
    session.add(0, "a", **POINT)
    masks = dict(session.propagate())
    for frame, coded in session.propagate(rle=True):
        assert coded["a"]["size"] == list(SIZE)
        np.testing.assert_array_equal(coco.decode(coded["a"]).astype(bool), masks[frame]["a"])


def test_objects_that_share_no_pixels():
    shared, apart = start(4), start(4, overlap=False)
    for session in (shared, apart):
        session.add(0, "a", **POINT)
        session.add(0, "b", **BOX)
    shared, apart = dict(shared.propagate()), dict(apart.propagate())
    assert any((masks["a"] & masks["b"]).any() for masks in shared.values())
    for frame, masks in apart.items():
        assert not (masks["a"] & masks["b"]).any()
        np.testing.assert_array_equal(masks["a"] | masks["b"], shared[frame]["a"] | shared[frame]["b"])


def test_a_given_mask_is_the_answer_and_an_empty_one_means_absent():
    session = start(2)
    mask = scattered()
    shown = session.add(0, "a", mask=mask)
    assert (shown != mask).mean() < 0.06 and (shown & mask).sum() > 0.9 * mask.sum()  # Cells of 3 x 5 pixels.
    assert not session.add(0, "b", mask=np.zeros(SIZE, bool)).any()
    (_, masks), *_ = session.propagate()
    np.testing.assert_array_equal(masks["a"], shown)
    assert not masks["b"].any()


@pytest.mark.slow
def test_more_prompted_frames_than_the_bank_holds():
    """Of six, a frame attends to the four that are closest: the others could be anything."""
    one, two = start(12), start(12)
    for session, far in ((one, POINT), (two, BOX)):
        session.add(0, "a", **far)
        for t in (7, 8, 9, 10, 11):
            session.add(t, "a", **POINT)
    one, two = tracked(one, start=8), tracked(two, start=8)
    same(one, two)
