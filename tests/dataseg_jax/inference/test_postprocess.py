"""Post-processing against the rules of MaskFormer and Mask2Former, written out as plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.inference.postprocess import instance, panoptic, semantic

pytestmark = pytest.mark.usefixtures("form")
B, N, K, GRID, SIZE = 2, 6, 4, (5, 6), (10, 9)
STUFF = np.array([False, True, False, True])
SEEDS = range(4)


def proposals(seed):
    """Random proposals, more and less sure of their class; labels repeat, background and void occur."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (B, N))
    class_logits = rng.normal(size=(B, N, K + 1)) + rng.uniform(1, 5, (B, N, 1)) * np.eye(K + 1)[labels]
    mask_logits = 3 * rng.normal(size=(B, N, *GRID)) - 1
    return class_logits.astype(np.float32), mask_logits.astype(np.float32)


def row_of_boxes(values, columns, width=10):
    """Masks of one image of one row; mask n has logit values[n] in columns[n] and -9 elsewhere."""
    masks = np.full((1, len(values), 1, width), -9.0, np.float32)
    for n, (value, (start, stop)) in enumerate(zip(values, columns, strict=True)):
        masks[0, n, 0, start:stop] = value
    return masks


# The oracle, one image at a time: lists of merged slots (slot, class logits, mask logits), float64 loops.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def naive_resize(mask, size):
    """Bilinear with half-pixel centres; outside the image the border repeats."""
    (h, w), (height, width) = mask.shape, size
    out = np.zeros(size)
    for i in range(height):
        for j in range(width):
            y, x = (i + 0.5) * h / height - 0.5, (j + 0.5) * w / width - 0.5
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            for yy, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
                for xx, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
                    out[i, j] += wy * wx * mask[min(max(yy, 0), h - 1), min(max(xx, 0), w - 1)]
    return out


def naive_merge(class_logits, mask_logits, mergeable, size):
    groups = {}
    for n, logits in enumerate(class_logits):
        label = int(np.argmax(logits))
        merges = label < len(mergeable) and mergeable[label]
        groups.setdefault(("category", label) if merges else ("alone", n), []).append(n)
    return [
        (
            members[0],
            np.mean([class_logits[n].astype(np.float64) for n in members], 0),
            naive_resize(np.max([mask_logits[n] for n in members], 0).astype(np.float64), size),
        )
        for members in groups.values()
    ]


def naive_panoptic(class_logits, mask_logits, mergeable, size, score_threshold, overlap_threshold):
    kept = []
    for slot, logits, mask in naive_merge(class_logits, mask_logits, mergeable, size):
        p = softmax(logits)
        label = int(np.argmax(p))
        if label != len(p) - 1 and p[label] > score_threshold:
            kept.append((slot, label, p[label], sigmoid(mask)))
    owner = np.zeros(size, int)
    for i in range(size[0]):
        for j in range(size[1]):
            best = -1.0
            for slot, _, p, mask in kept:
                if p * mask[i, j] > best:
                    best, owner[i, j] = p * mask[i, j], slot + 1
    ids, segments = np.zeros(size, int), {}
    for slot, label, p, mask in kept:
        mine = (owner == slot + 1) & (mask >= 0.5)
        if mine.sum() > 0 and mine.sum() / (mask >= 0.5).sum() >= overlap_threshold:
            ids[mine] = slot + 1
            segments[slot] = (label, p)
    return ids, segments


def naive_semantic(class_logits, mask_logits, mergeable, size):
    scores = np.zeros((class_logits.shape[1] - 1, *size))
    for _, logits, mask in naive_merge(class_logits, mask_logits, mergeable, size):
        for k, p in enumerate(softmax(logits)[:-1]):
            scores[k] += p * sigmoid(mask)
    return scores.argmax(0)


def naive_instance(class_logits, mask_logits, mergeable, size, top_k):
    pairs = []
    for _, logits, mask in naive_merge(class_logits, mask_logits, mergeable, size):
        pairs += [(p, k, sigmoid(mask)) for k, p in enumerate(softmax(logits)[:-1])]
    pairs = sorted(pairs, key=lambda pair: -pair[0])[:top_k]
    results = []
    for p, k, mask in pairs:
        inside = mask >= 0.5
        if inside.any():
            y, x = np.nonzero(inside)
            box = (x.min(), y.min(), x.max() + 1, y.max() + 1)
            results.append((p * mask[inside].mean(), k, inside, box))
    return sorted(results, key=lambda result: -result[0])


def assert_panoptic(out, b, expected):
    ids, segments = expected
    np.testing.assert_array_equal(out.ids[b], ids)
    assert set(np.flatnonzero(out.valid[b])) == set(segments)
    for slot, (label, p) in segments.items():
        assert out.labels[b, slot] == label
        np.testing.assert_allclose(out.scores[b, slot], p, rtol=1e-5)


def assert_instance(out, b, expected):
    count = int(out.valid[b].sum())
    assert count == len(expected) and out.valid[b, :count].all()  # Valid answers come first.
    for i, (score, label, mask, box) in enumerate(expected):
        np.testing.assert_allclose(out.scores[b, i], score, rtol=1e-5)
        assert out.labels[b, i] == label
        np.testing.assert_array_equal(out.masks[b, i], mask)
        np.testing.assert_array_equal(out.boxes[b, i], box)


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_panoptic_follows_the_rule(seed):
    class_logits, mask_logits = proposals(seed)
    thresholds = (0.6, 0.3) if seed % 2 else (0.3, 0.25)
    out = panoptic(class_logits, mask_logits, STUFF, SIZE, *thresholds)
    for b in range(B):
        assert_panoptic(out, b, naive_panoptic(class_logits[b], mask_logits[b], STUFF, SIZE, *thresholds))


def test_the_random_images_exercise_both_thresholds():
    """Or the test above could pass without ever dropping a segment."""
    count = dict.fromkeys([(0.6, 0.3), (0.6, 0.0), (0.3, 0.0)], 0)
    for seed in SEEDS:
        class_logits, mask_logits = proposals(seed)
        for thresholds in count:
            args = class_logits[0], mask_logits[0], STUFF, SIZE
            count[thresholds] += len(naive_panoptic(*args, *thresholds)[1])
    both, by_score, none = count.values()
    assert none - by_score >= 2 and by_score - both >= 2 and both >= 5, count


@pytest.mark.parametrize("mergeable", [None, np.stack([STUFF, ~STUFF])], ids=["all", "per image"])
@pytest.mark.parametrize("seed", SEEDS)
def test_semantic_follows_the_rule(seed, mergeable):
    class_logits, mask_logits = proposals(seed)
    out = semantic(class_logits, mask_logits, mergeable, SIZE)
    flags = np.broadcast_to(np.ones(K, bool) if mergeable is None else mergeable, (B, K))
    for b in range(B):
        np.testing.assert_array_equal(out[b], naive_semantic(class_logits[b], mask_logits[b], flags[b], SIZE))


def test_semantic_of_more_rows_than_are_scored_at_once():
    class_logits, mask_logits = proposals(0)
    out = semantic(class_logits, mask_logits, None, (37, 3))
    np.testing.assert_array_equal(out[1], naive_semantic(class_logits[1], mask_logits[1], np.ones(K, bool), (37, 3)))


@pytest.mark.parametrize(("mergeable", "top_k"), [(None, None), (STUFF, N * K)], ids=["none", "stuff"])
@pytest.mark.parametrize("seed", SEEDS)
def test_instance_follows_the_rule(seed, mergeable, top_k):
    class_logits, mask_logits = proposals(seed)
    out = instance(class_logits, mask_logits, mergeable, SIZE, top_k)
    assert out.scores.shape == (B, top_k or N)
    flags = np.zeros(K, bool) if mergeable is None else mergeable
    for b in range(B):
        assert_instance(out, b, naive_instance(class_logits[b], mask_logits[b], flags, SIZE, top_k or N))


@pytest.mark.parametrize("size", [GRID, None, (3, 4)], ids=str)
def test_sizes_above_below_and_equal_to_the_grid(size):
    class_logits, mask_logits = proposals(1)
    out = panoptic(class_logits, mask_logits, STUFF, size, 0.3, 0.2)
    for b in range(B):
        expected = naive_panoptic(class_logits[b], mask_logits[b], STUFF, size or GRID, 0.3, 0.2)
        assert_panoptic(out, b, expected)


def test_all_background_is_void_everywhere():
    class_logits, mask_logits = proposals(2)
    class_logits[..., K] = 10
    out = panoptic(class_logits, mask_logits, STUFF, SIZE, 0.0, 0.0)
    assert not out.ids.any() and not out.valid.any() and not out.scores.any() and (out.labels == -1).all()
    labels = semantic(class_logits, mask_logits, None, SIZE)  # Semantic has no void: background never wins.
    np.testing.assert_array_equal(labels[0], naive_semantic(class_logits[0], mask_logits[0], np.ones(K, bool), SIZE))


def test_stuff_of_one_label_is_one_segment_and_things_stay_apart():
    class_logits = np.full((1, 4, K + 1), -9.0, np.float32)
    class_logits[0, [0, 1, 2, 3], [1, 1, 0, 0]] = 9
    masks = row_of_boxes([6, 6, 6, 6], [(0, 2), (4, 6), (6, 8), (8, 10)])
    out = panoptic(class_logits, masks, STUFF)
    np.testing.assert_array_equal(out.ids[0, 0], [1, 1, 0, 0, 1, 1, 3, 3, 4, 4])
    np.testing.assert_array_equal(out.labels[0], [1, -1, 0, 0])  # Slot 1 is empty after MERGE.
    np.testing.assert_array_equal(out.valid[0], [True, False, True, True])


def test_equal_masks_go_to_the_first_slot_and_the_other_is_dropped():
    class_logits = np.full((1, 2, K + 1), -9.0, np.float32)
    class_logits[0, :, 0] = 9
    out = panoptic(class_logits, row_of_boxes([4, 4], [(2, 6), (2, 6)]), STUFF)
    np.testing.assert_array_equal(out.ids[0, 0], [0, 0, 1, 1, 1, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(out.valid[0], [True, False])
    np.testing.assert_array_equal(out.labels[0], [0, 0])  # Still told: it was a candidate.


@pytest.mark.parametrize(("taken", "expected"), [(1, [1] * 5 + [2] * 4 + [0]), (2, [1] * 5 + [0] * 5)])
def test_overlap_threshold_is_inclusive_and_a_dropped_segment_leaves_void(taken, expected):
    """Each mask has 5 pixels and slot 0 is the stronger where they overlap: 4 of 5 is .8 and enough, 3 is not."""
    class_logits = np.full((1, 2, K + 1), -9.0, np.float32)
    class_logits[0, :, 0] = 9
    masks = row_of_boxes([8, 2], [(0, 5), (5 - taken, 10 - taken)])
    out = panoptic(class_logits, masks, STUFF, None, 0.8, 0.8)
    np.testing.assert_array_equal(out.ids[0, 0], expected)


def test_score_threshold_is_exclusive_and_a_tie_with_background_is_the_category():
    class_logits, masks = np.zeros((1, 1, 2), np.float32), row_of_boxes([5], [(0, 3)])  # p = .5 exactly.
    assert not panoptic(class_logits, masks, np.array([False]), None, 0.5, 0.8).ids.any()
    assert panoptic(class_logits, masks, np.array([False]), None, 0.49, 0.8).ids.sum() == 3


def test_pixels_below_one_half_are_void_even_where_only_one_segment_competes():
    class_logits = np.full((1, 1, K + 1), -9.0, np.float32)
    class_logits[0, 0, 0] = 9
    masks = np.linspace(-1, 1, 10, dtype=np.float32).reshape(1, 1, 1, 10)
    np.testing.assert_array_equal(panoptic(class_logits, masks, STUFF).ids[0, 0], masks[0, 0, 0] > 0)


def pad(class_logits, categories):
    """The same logits with categories that the vocabulary lacks, before the background column."""
    missing = np.full((*class_logits.shape[:-1], categories), -1e9, np.float32)
    return np.concatenate([class_logits[..., :-1], missing, class_logits[..., -1:]], -1)


def test_missing_categories_change_nothing():
    class_logits, mask_logits = proposals(3)
    padded, flags = pad(class_logits, 7), np.concatenate([STUFF, np.full(7, True)])
    assert_same(panoptic(padded, mask_logits, flags, SIZE, 0.3), panoptic(class_logits, mask_logits, STUFF, SIZE, 0.3))
    assert_same(semantic(padded, mask_logits, None, SIZE), semantic(class_logits, mask_logits, None, SIZE))
    one, other = (instance(x, mask_logits, None, SIZE) for x in (padded, class_logits))
    for b in range(B):
        valid = np.asarray(other.valid[b])
        np.testing.assert_array_equal(one.valid[b], valid)
        for field in ("masks", "labels", "scores", "boxes"):
            np.testing.assert_array_equal(getattr(one, field)[b, valid], getattr(other, field)[b, valid])


def test_missing_categories_never_win_a_pixel_without_any_evidence():
    """Masks of -200 have probability 0 in float32, so that every sum is 0 and only the rule decides."""
    class_logits = np.array([[[-1e9, -1e9, 1.0, 0.0, -1e9, 5.0]]], np.float32)
    labels = semantic(class_logits, np.full((1, 1, 2, 2), -200.0, np.float32))
    assert np.isin(labels, [2, 3]).all()


def test_slots_that_say_nothing_change_nothing():
    class_logits, mask_logits = proposals(4)
    silent = np.full((B, 2, K + 1), -50.0, np.float32)
    silent[..., -1] = 50
    more = np.concatenate([class_logits, silent], 1), np.concatenate([mask_logits, np.full((B, 2, *GRID), -100.0)], 1)
    out, plain = panoptic(*more, STUFF, SIZE, 0.3), panoptic(class_logits, mask_logits, STUFF, SIZE, 0.3)
    assert not out.valid[:, N:].any()
    first = {field: getattr(out, field)[:, :N] for field in ("labels", "scores", "valid")}
    assert_same(out.replace(**first), plain)
    np.testing.assert_array_equal(semantic(*more, None, SIZE), semantic(class_logits, mask_logits, None, SIZE))


CALLS = {
    "panoptic": lambda c, m: panoptic(c, m, STUFF, SIZE, 0.3, 0.3),
    "semantic": lambda c, m: semantic(c, m, None, SIZE),
    "instance": lambda c, m: instance(c, m, None, SIZE),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_batch_is_its_images(call):
    class_logits, mask_logits = proposals(5)
    single = [call(class_logits[b : b + 1], mask_logits[b : b + 1]) for b in range(B)]
    together = jax.tree.map(lambda *x: jnp.concatenate(x), *single)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), call(class_logits, mask_logits), together)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_jit_is_eager(call):
    inputs = proposals(5)
    with jax.disable_jit():
        eager = call(*inputs)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), jax.jit(call)(*inputs), eager)


def test_bfloat16_is_computed_in_float32():
    class_logits, mask_logits = (jnp.asarray(x, jnp.bfloat16) for x in proposals(0))
    in_float32 = class_logits.astype(jnp.float32), mask_logits.astype(jnp.float32)
    assert_same(panoptic(class_logits, mask_logits, STUFF, SIZE), panoptic(*in_float32, STUFF, SIZE))


def test_instance_without_any_mask_holds_nothing():
    class_logits, mask_logits = proposals(0)
    out = instance(class_logits, -1 - np.abs(mask_logits), None, SIZE)
    assert not out.valid.any() and not out.masks.any() and not out.boxes.any() and not out.scores.any()


@pytest.mark.parametrize("top_k", [0, N * K + 1])
def test_instance_names_the_range_of_top_k(top_k):
    with pytest.raises(InputError, match=f"top_k is {top_k}, must be within 1 and N x K = {N} x {K} = {N * K}"):
        instance(*proposals(0), None, SIZE, top_k)
