"""Panoptic quality against the published rules, one pair of segments at a time."""

import pickle

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import PanopticQuality

THINGS = (True, True, False, False)
NAMES = ("cat", "dog", "sky", "sea")


def naive_pq(images, k):
    """The published rules, one pair of segments at a time: {category: [iou, tp, fp, fn]}."""
    sums = {c: [0.0, 0, 0, 0] for c in range(k)}
    for gt, gt_segments, pred, pred_segments in images:
        void = gt == 0
        gt_hit, pred_hit = set(), set()
        for g in gt_segments:
            for p in pred_segments:
                if g["iscrowd"] or g["category"] != p["category"]:
                    continue
                a, b = gt == g["id"], pred == p["id"]
                iou = (a & b).sum() / max((a | (b & ~void)).sum(), 1)
                if iou > 0.5:
                    sums[g["category"]][0] += iou
                    sums[g["category"]][1] += 1
                    gt_hit.add(g["id"])
                    pred_hit.add(p["id"])
        for g in gt_segments:
            if g["id"] not in gt_hit and not g["iscrowd"]:
                sums[g["category"]][3] += 1
        for p in pred_segments:
            if p["id"] in pred_hit:
                continue
            crowds = [g for g in gt_segments if g["iscrowd"] and g["category"] == p["category"]]
            excused = void | (gt == crowds[-1]["id"]) if crowds else void
            mask = pred == p["id"]
            if (mask & excused).sum() / mask.sum() <= 0.5:
                sums[p["category"]][2] += 1
    return sums


def naive_means(sums, chosen):
    rows = []
    for c in chosen:
        iou, tp, fp, fn = sums[c]
        if tp + fp + fn:
            rows.append((iou / (tp + fp / 2 + fn / 2), iou / tp if tp else 0.0, tp / (tp + fp / 2 + fn / 2)))
    return np.mean(rows, axis=0) if rows else None


def random_image(rng, k=4, height=30, width=40):
    """Overlapping rectangles, void, crowds, an unlisted id; predicted with shifts, drops, merges, splits, relabels."""
    gt = np.zeros((height, width), np.int64)
    gt_segments = []
    for n in range(rng.integers(0, 9)):
        y, x = rng.integers(0, height - 6), rng.integers(0, width - 6)
        segment = int(1 + n * rng.integers(1, 1 << 20))
        gt[y : y + rng.integers(5, 20), x : x + rng.integers(5, 20)] = segment
        gt_segments.append({"id": segment, "category": int(rng.integers(k)), "iscrowd": int(rng.random() < 0.3)})
    gt_segments = list({s["id"]: s for s in gt_segments}.values())
    pred = np.roll(gt, tuple(rng.integers(-2, 3, 2)), (0, 1))
    if rng.random() < 0.5:
        pred[pred == 0] = 77  # Something is predicted on void.
    relabelled, category = np.zeros_like(pred), {}
    for value in np.unique(pred[pred > 0]):
        mask = pred == value
        true = [s["category"] for s in gt_segments if s["id"] == value]
        chance = rng.random()
        if chance < 0.15:
            continue
        label = true[0] if true and chance < 0.8 else int(rng.integers(k))
        half = np.zeros_like(mask)
        half[:, : rng.integers(1, width)] = True
        for part in (mask & half, mask & ~half) if chance > 0.7 else (mask,):
            new = int(rng.choice(list(category))) if category and rng.random() < 0.1 else 1000 + len(category) * 65537
            category.setdefault(new, label)
            relabelled[part] = new
    pred_segments = [{"id": v, "category": c} for v, c in category.items() if (relabelled == v).any()]
    if gt_segments and rng.random() < 0.2:
        gt_segments.pop(0)  # Pixels that are neither void nor a segment.
    return gt, gt_segments, relabelled, pred_segments


def state_of(images):
    state = PanopticQuality(4, THINGS, NAMES)
    for image in images:
        state.update(*image)
    return state


def test_pq_equals_naive_rules_on_random_images():
    rng = np.random.default_rng(0)
    images = [random_image(rng) for _ in range(150)]
    state, sums = state_of(images), naive_pq(images, 4)
    expected = np.array([sums[c] for c in range(4)]).T
    assert (expected > 20).all()  # The images exercise hits, false positives and misses of every class.
    np.testing.assert_allclose(state.counts, expected, rtol=1e-12)
    result = state.compute()
    for suffix, chosen in (("", (0, 1, 2, 3)), ("_things", (0, 1)), ("_stuff", (2, 3))):
        got = [result[key + suffix] for key in ("pq", "sq", "rq")]
        np.testing.assert_allclose(got, naive_means(sums, chosen), rtol=1e-12)
        assert result["n" + suffix] == len(chosen)
    for c, name in enumerate(NAMES):
        row = result["per_class"][name]
        np.testing.assert_allclose([row["pq"], row["sq"], row["rq"]], naive_means(sums, (c,)), rtol=1e-12)
        assert [row["tp"], row["fp"], row["fn"]] == sums[c][1:]


def test_pq_adds_up_over_shards():
    rng = np.random.default_rng(1)
    images = [random_image(rng) for _ in range(12)]
    shards = [state_of(images[i::3]) for i in range(3)]
    before = shards[0].counts.copy()
    merged = shards[2].merge(pickle.loads(pickle.dumps(shards[0]))).merge(shards[1])
    np.testing.assert_allclose(merged.counts, state_of(images).counts, rtol=1e-12)
    np.testing.assert_array_equal(shards[0].counts, before)  # Merging leaves its parts alone.


def row_image(*runs):
    """One row of pixels from (length, gt id, predicted id)."""
    gt = np.concatenate([np.full(n, g) for n, g, _ in runs])
    pred = np.concatenate([np.full(n, p) for n, _, p in runs])
    return gt[None], pred[None]


@pytest.mark.parametrize(
    ("runs", "counts"),
    [
        (((5, 1, 1), (5, 1, 0)), [0, 0, 1, 1]),  # IoU of exactly 0.5 is no match.
        (((6, 1, 1), (4, 1, 0)), [0.6, 1, 0, 0]),
        (((6, 1, 1), (90, 0, 1)), [1, 1, 0, 0]),  # The void part of a prediction is not in the union.
        (((6, 1, 1), (6, 2, 1)), [0, 0, 1, 1]),  # Id 2 is listed nowhere: not void.
        (((5, 1, 0), (5, 0, 1), (5, 2, 1)), [0, 0, 1, 1]),  # Half on void is not enough to be excused,
        (((5, 1, 0), (6, 0, 1), (5, 2, 1)), [0, 0, 0, 1]),  # more than half is.
        (((5, 1, 0), (6, 9, 1), (5, 2, 1)), [0, 0, 0, 1]),  # So is the crowd of the category,
        (((5, 1, 0), (3, 9, 1), (3, 0, 1), (5, 2, 1)), [0, 0, 0, 1]),  # and both together,
        (((5, 1, 0), (6, 8, 1), (5, 2, 1)), [0, 0, 1, 1]),  # but not the crowd of another.
        (((9, 9, 1),), [0, 0, 0, 1]),  # A crowd is not matched, and id 1, without a pixel, is missed.
        (((9, 0, 1),), [0, 0, 0, 1]),
    ],
)
def test_pq_at_the_edges_of_the_rules(runs, counts):
    state = PanopticQuality(2, (True, False))
    gt, pred = row_image(*runs)
    truth = [
        {"id": 1, "category": 0, "iscrowd": 0},
        {"id": 9, "category": 0, "iscrowd": 1},
        {"id": 8, "category": 1, "iscrowd": 1},
    ]
    state.update(gt, truth, pred, [{"id": 1, "category": 0}] if (pred == 1).any() else [])
    np.testing.assert_allclose(state.counts[:, 0], counts)
    assert not state.counts[:, 1].any()


def test_pq_believes_the_area_that_the_truth_states():
    gt, pred = row_image((6, 1, 1), (4, 1, 0))
    for area, counts in ((10, [0.6, 1, 0, 0]), (8, [0.75, 1, 0, 0]), (12, [0, 0, 1, 1])):
        state = PanopticQuality(1, (True,))
        state.update(gt, [{"id": 1, "category": 0, "area": area}], pred, [{"id": 1, "category": 0}])
        np.testing.assert_allclose(state.counts[:, 0], counts)


def test_pq_leaves_out_what_is_undefined():
    assert PanopticQuality(2, (True, False)).compute() == {"n": 0, "n_things": 0, "n_stuff": 0, "per_class": {}}
    state = PanopticQuality(3, (True, True, False), ("a", "a", "b"))
    state.update(
        *row_image((4, 1, 1))[:1], [{"id": 1, "category": 1}], np.ones((1, 4), int), [{"id": 1, "category": 1}]
    )
    result = state.compute()
    assert result["pq"] == result["pq_things"] == 1.0
    assert "pq_stuff" not in result
    assert list(result["per_class"]) == ["a (1)"]  # Names that repeat stay apart.


@pytest.mark.parametrize(
    ("pred", "segments", "message"),
    [
        ([[1, 1, 2]], [{"id": 1, "category": 0}], "shows segment id 2"),
        ([[1, 1, 1]], [{"id": 1, "category": 0}, {"id": 5, "category": 0}], "lists segment id 5"),
        ([[1, 1, 1]], [{"id": 1, "category": 0}, {"id": 1, "category": 1}], "id 1 is listed twice"),
        ([[1, 1, 0]], [{"id": 1, "category": 0}, {"id": 0, "category": 1}], "id 0"),
        ([[1, 1, 1]], [{"id": 1, "category": 2}], "category 2, not 0..1"),
        ([[1, 1]], [{"id": 1, "category": 0}], "the ground truth is 1x3 and the prediction 1x2"),
        ([[1.0, 1, 1]], [{"id": 1, "category": 0}], "float64"),
    ],
)
def test_pq_refuses_bad_predictions(pred, segments, message):
    state = PanopticQuality(2, (True, False))
    with pytest.raises(InputError, match=message) as caught:
        state.update(np.array([[3, 3, 0]]), [{"id": 3, "category": 0}], np.array(pred), segments)
    assert "\n" not in str(caught.value)
    assert not state.counts.any()


def test_states_of_different_categories_do_not_merge():
    with pytest.raises(InputError):
        PanopticQuality(2, (True, False)).merge(PanopticQuality(2, (True, True)))
