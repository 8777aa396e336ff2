"""J and F of video objects against a naive port of the official evaluation, and what it refuses."""

import numpy as np
import pytest

from dataseg_jax.metrics import VideoJF
from dataseg_jax.metrics.video import boundary, region
from tests.messages import one_line


def naive_edge(mask):
    """Of the official `_seg2bmap`, pixel by pixel."""
    h, w = mask.shape
    edge = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            right = mask[y, x + 1] if x + 1 < w else False
            below = mask[y + 1, x] if y + 1 < h else False
            across = mask[y + 1, x + 1] if x + 1 < w and y + 1 < h else False
            if y == h - 1 and x == w - 1:
                continue
            if y == h - 1:
                edge[y, x] = mask[y, x] != right
            elif x == w - 1:
                edge[y, x] = mask[y, x] != below
            else:
                edge[y, x] = mask[y, x] != right or mask[y, x] != below or mask[y, x] != across
    return edge


def naive_f(truth, guess):
    radius = np.ceil(0.008 * np.hypot(*truth.shape))
    edges = naive_edge(truth), naive_edge(guess)
    if not edges[0].any() and not edges[1].any():
        return 1.0
    if not edges[0].any() or not edges[1].any():
        return 0.0

    def share(of, near):
        places = np.argwhere(near)
        hits = [((places - p) ** 2).sum(1).min() <= radius**2 for p in np.argwhere(of)]
        return np.mean(hits)

    recall, precision = share(*edges), share(*edges[::-1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(rng, shape, count):
    """A map of `count` overlapping ellipses that may touch every border."""
    out = np.zeros(shape, np.int32)
    y, x = np.ogrid[: shape[0], : shape[1]]
    for number in range(1, count + 1):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        ry, rx = rng.uniform(4, 14, 2)
        out[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = number
    return out


@pytest.mark.parametrize("seed", range(6))
def test_against_the_naive_port(seed):
    rng = np.random.default_rng(seed)
    shape = (37, 150) if seed % 2 else (60, 41)
    truth = np.stack([blobs(rng, shape, 3) for _ in range(5)])
    truth[0, 0, :3] = 1, 2, 3  # All objects are in the first frame.
    guess = np.stack([np.roll(frame, rng.integers(-3, 4), 1) for frame in truth])
    guess[2][guess[2] == 2] = 0
    truth[3][truth[3] == 1] = 0
    state = VideoJF()
    state.update(truth, guess)
    for number, (j, f) in enumerate(state.objects, 1):
        frames = [(t == number, g == number) for t, g in zip(truth[1:-1], guess[1:-1], strict=True)]
        ious = [(t & g).sum() / (t | g).sum() if (t | g).any() else 1.0 for t, g in frames]
        assert j == pytest.approx(np.mean(ious), abs=1e-12)
        assert f == pytest.approx(np.mean([naive_f(t, g) for t, g in frames]), abs=1e-12)
    result = state.compute()
    assert result["j"] == pytest.approx(np.mean([j for j, _ in state.objects]))
    assert result["jf"] == pytest.approx((result["j"] + result["f"]) / 2)


def test_empty_masks():
    none, some = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    some[10:20, 10:20] = True
    assert (region(none, none), boundary(none, none)) == (1, 1)
    assert (region(some, none), boundary(some, none), boundary(none, some)) == (0, 0, 0)
    assert (region(some, some), boundary(some, some)) == (1, 1)


def test_the_first_and_the_last_frame_do_not_count_and_void_is_no_object():
    truth = np.zeros((4, 20, 20), np.int32)
    truth[:, 5:10, 5:10] = 1
    guess = truth.copy()
    guess[0], guess[-1] = 0, 7
    guess[1, 0] = truth[0, 0] = 255
    state = VideoJF()
    state.update(truth, guess)
    assert state.compute() == {"j": 1.0, "f": 1.0, "jf": 1.0} and len(state.objects) == 1


def test_an_object_that_the_answer_lacks_scores_zero_and_states_merge():
    truth = np.zeros((3, 20, 20), np.int32)
    truth[:, :5], truth[:, 10:] = 1, 2
    one, other = VideoJF(), VideoJF()
    one.update(truth, np.where(truth == 2, 0, truth))
    other.update(truth, truth)
    assert one.compute()["j"] == 0.5
    assert one.merge(other).compute()["j"] == 0.75
    assert VideoJF().compute() == {}


@pytest.mark.parametrize(("truth", "guess", "message"), [
    (np.ones((3, 4, 4), int), np.ones((3, 4, 5), int), "must be whole numbers"),
    (np.ones((2, 4, 4), int), np.ones((2, 4, 4), int), "2 frames; the first"),
    (np.zeros((3, 4, 4), int), np.ones((3, 4, 4), int), "shows no object"),
    (np.ones((3, 4, 4), int), np.full((3, 4, 4), 2), "an object 2, but the first true frame has 1"),
    (np.ones((3, 4, 4)), np.ones((3, 4, 4)), "must be whole numbers"),
])  # fmt: skip
def test_what_cannot_be_scored(truth, guess, message):
    one_line(lambda: VideoJF().update(truth, guess), message)


def naive_sa_v(truth, guess):
    """The official `sav_benchmark.Evaluator`: frame after frame, every object that was seen so far is scored."""
    seen, in_truth, ious, fs = set(), set(), {}, {}
    for true, answer in zip(truth[1:-1], guess[1:-1], strict=True):
        in_truth |= set(np.unique(true).tolist()) - {0}
        seen |= in_truth | (set(np.unique(answer).tolist()) - {0})
        for number in seen:
            t, g = true == number, answer == number
            ious.setdefault(number, []).append((t & g).sum() / (t | g).sum() if (t | g).any() else 1.0)
            fs.setdefault(number, []).append(naive_f(t, g))
    return {number: (np.mean(ious[number]), np.mean(fs[number])) for number in sorted(in_truth)}


@pytest.mark.parametrize("seed", range(4))
def test_sa_v_against_the_naive_port(seed):
    rng = np.random.default_rng(seed)
    truth = np.stack([blobs(rng, (37, 50), 4) for _ in range(7)])
    guess = np.stack([np.roll(frame, rng.integers(-3, 4), 1) for frame in truth])
    truth[:4][truth[:4] == 1] = 0  # Appears late in both,
    guess[:3][guess[:3] == 1] = 0  # in the answer a frame sooner.
    truth[truth == 2] = 255  # A value as any other; the answer has none of it.
    guess[guess == 2] = 9  # Not of the truth.
    truth[1:-1][truth[1:-1] == 3] = 0  # In no scored frame.
    expected = naive_sa_v(truth, guess)
    assert sorted(expected) == [1, 4, 255]
    state = VideoJF()
    state.update_sa_v(truth, guess)
    np.testing.assert_allclose(state.objects, list(expected.values()), atol=1e-12)
    # Objects of their own give the same, whatever order they come in.
    apart = VideoJF()
    for number in (255, 4, 1):
        apart.update_sa_v((truth == number).astype(int), (guess == number).astype(int))
    np.testing.assert_allclose(apart.objects[::-1], state.objects)
    j, f = np.mean(list(expected.values()), 0)
    assert state.compute() == pytest.approx({"j": j, "f": f, "jf": (j + f) / 2})


def test_sa_v_needs_no_object_in_the_first_frame():
    truth = np.zeros((5, 20, 20), int)
    truth[3, 5:15, 5:15] = 1
    state = VideoJF()
    state.update_sa_v(truth, truth)
    assert state.objects == [(1.0, 1.0)]
    state.update_sa_v(np.zeros_like(truth), truth)
    assert len(state.objects) == 1
    one_line(lambda: VideoJF().update_sa_v(truth[:2], truth[:2]), "2 frames; the first")
