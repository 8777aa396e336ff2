"""Metrics against independent oracles: naive loops over segments and pixels, and pycocotools called directly."""

import copy
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataseg_jax.errors import InputError
from dataseg_jax.metrics import InstanceAP, PanopticQuality, SemanticIoU
from dataseg_jax.metrics.shared import pair_counts

# --- Pairs of values


@pytest.mark.parametrize(
    ("dtype", "low", "high", "scale"),
    [
        (np.uint8, 0, 4, 1),
        (np.int64, -3, 4, 1),  # A table of all pairs;
        (np.uint32, 0, 4, 2**22),  # ids too far apart for one,
        (np.int32, -4, 4, 2**29),  # and so far apart that a pair of them fills 64 bits.
    ],
)
def test_pairs_are_counted_pixel_by_pixel(dtype, low, high, scale):
    rng = np.random.default_rng(9)
    for shape in ((1, 1), (1, 9), (7, 1), (23, 17)):
        first, second = ((rng.integers(low, high, shape) * scale).astype(dtype) for _ in range(2))
        first[: shape[0] // 2] = first[0, 0]  # Runs longer than a row.
        expected = Counter(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
        values, others, pixels = (array.tolist() for array in pair_counts(first, second))
        assert dict(zip(zip(values, others, strict=True), pixels, strict=True)) == expected
        assert len(values) == len(expected)


def test_pairs_of_odd_maps():
    ids = np.arange(12, dtype=np.uint32).reshape(3, 4) << 20
    turned, straight = pair_counts(ids.T, ids[::-1].T), pair_counts(ids.T.copy(), ids[::-1].T.copy())
    for one, other in zip(turned, straight, strict=True):  # Views that are not contiguous.
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="0 to 4294967296; they must fit 32 bits"):
        pair_counts(np.zeros((1, 2), int), np.array([[0, 1 << 32]]))


# --- Panoptic quality

THINGS = (True, True, False, False)
NAMES = ("cat", "dog", "sky", "sea")


def naive_pq(pictures, k):
    """The published rules, one pair of segments at a time: {category: [iou, tp, fp, fn]}."""
    sums = {c: [0.0, 0, 0, 0] for c in range(k)}
    for gt, gt_segments, pred, pred_segments in pictures:
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


def random_picture(rng, k=4, height=30, width=40):
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


def state_of(pictures):
    state = PanopticQuality(4, THINGS, NAMES)
    for picture in pictures:
        state.update(*picture)
    return state


def test_pq_equals_naive_rules_on_random_pictures():
    rng = np.random.default_rng(0)
    pictures = [random_picture(rng) for _ in range(150)]
    state, sums = state_of(pictures), naive_pq(pictures, 4)
    expected = np.array([sums[c] for c in range(4)]).T
    assert (expected > 20).all()  # The pictures exercise hits, false positives and misses of every class.
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
    pictures = [random_picture(rng) for _ in range(12)]
    shards = [state_of(pictures[i::3]) for i in range(3)]
    before = shards[0].counts.copy()
    merged = shards[2].merge(pickle.loads(pickle.dumps(shards[0]))).merge(shards[1])
    np.testing.assert_allclose(merged.counts, state_of(pictures).counts, rtol=1e-12)
    np.testing.assert_array_equal(shards[0].counts, before)  # Merging leaves its parts alone.


def row_picture(*runs):
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
    gt, pred = row_picture(*runs)
    truth = [
        {"id": 1, "category": 0, "iscrowd": 0},
        {"id": 9, "category": 0, "iscrowd": 1},
        {"id": 8, "category": 1, "iscrowd": 1},
    ]
    state.update(gt, truth, pred, [{"id": 1, "category": 0}] if (pred == 1).any() else [])
    np.testing.assert_allclose(state.counts[:, 0], counts)
    assert not state.counts[:, 1].any()


def test_pq_believes_the_area_that_the_truth_states():
    gt, pred = row_picture((6, 1, 1), (4, 1, 0))
    for area, counts in ((10, [0.6, 1, 0, 0]), (8, [0.75, 1, 0, 0]), (12, [0, 0, 1, 1])):
        state = PanopticQuality(1, (True,))
        state.update(gt, [{"id": 1, "category": 0, "area": area}], pred, [{"id": 1, "category": 0}])
        np.testing.assert_allclose(state.counts[:, 0], counts)


def test_pq_leaves_out_what_is_undefined():
    assert PanopticQuality(2, (True, False)).compute() == {"n": 0, "n_things": 0, "n_stuff": 0, "per_class": {}}
    state = PanopticQuality(3, (True, True, False), ("a", "a", "b"))
    state.update(
        *row_picture((4, 1, 1))[:1], [{"id": 1, "category": 1}], np.ones((1, 4), int), [{"id": 1, "category": 1}]
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
    with pytest.raises(InputError):
        SemanticIoU(2, ("a", "b")).merge(SemanticIoU(2, ("b", "a")))
    with pytest.raises(InputError):
        InstanceAP(("a", "b")).merge(InstanceAP(("a",)))


# --- Mean IoU


def test_miou_equals_pixel_by_pixel_count():
    rng = np.random.default_rng(2)
    k, names = 5, ("a", "b", "c", "d", "e")
    state, halves = SemanticIoU(k, names), [SemanticIoU(k, names), SemanticIoU(k, names)]
    gts, preds = [], []
    for n in range(6):
        gt = np.kron(rng.choice([0, 1, 2, 3, 255, -1], (4, 5)), np.ones((5, 6), int))  # Class 4 is never there,
        pred = np.where(rng.random(gt.shape) < 0.6, gt, rng.choice([0, 1, 2, 4, 255], gt.shape))  # but predicted.
        gts.append(gt.ravel())
        preds.append(pred.ravel())
        state.update(gt, pred)
        halves[n % 2].update(gt.astype(np.int16), pred.astype(np.int16))
    gt, pred = np.concatenate(gts), np.concatenate(preds)
    gt, pred = gt[(gt >= 0) & (gt < k)], pred[(gt >= 0) & (gt < k)]
    iou = [((gt == c) & (pred == c)).sum() / ((gt == c) | (pred == c)).sum() for c in range(4)]
    recall = [(pred[gt == c] == c).mean() for c in range(4)]
    share = [(gt == c).mean() for c in range(4)]
    result = state.compute()
    assert result["miou"] == pytest.approx(np.mean(iou), rel=1e-12)
    assert result["pixel_accuracy"] == pytest.approx((gt == pred).mean(), rel=1e-12)
    assert result["mean_accuracy"] == pytest.approx(np.mean(recall), rel=1e-12)
    assert result["frequency_weighted_iou"] == pytest.approx(np.dot(share, iou), rel=1e-12)
    assert result["n"] == 4 and list(result["per_class"]) == ["a", "b", "c", "d"]
    np.testing.assert_allclose([row["iou"] for row in result["per_class"].values()], iou)
    assert halves[1].merge(halves[0]).compute() == result


def test_unpredicted_pixels_are_misses_and_nobodys_false_positives():
    state = SemanticIoU(2, ("a", "b"))
    state.update(np.array([[0, 0, 0, 0, 1, 1]]), np.array([[0, -1, 255, 0, 1, 1]]))
    result = state.compute()
    assert result["per_class"]["a"]["iou"] == 0.5
    assert result["per_class"]["b"]["iou"] == 1.0
    assert result["pixel_accuracy"] == pytest.approx(4 / 6)


def test_miou_void_values():
    many = SemanticIoU(300)
    many.update(np.array([[255, 299]]), np.array([[255, 299]]))  # With 300 classes 255 is one of them.
    assert many.compute()["n"] == 2
    zero = SemanticIoU(3, ignore=(0,))
    zero.update(np.array([[0, 1, 2]]), np.array([[1, 1, 0]]))
    assert zero.compute()["miou"] == 0.5
    with pytest.raises(InputError, match="prediction has the value 3; it must be a category 0..2 or void"):
        SemanticIoU(3).update(np.array([[0, 1]]), np.array([[0, 3]]))
    with pytest.raises(InputError, match="ground truth has the value -7"):
        SemanticIoU(3).update(np.array([[-7, 1]]), np.array([[0, 1]]))
    assert SemanticIoU(3).compute() == {"n": 0, "per_class": {}}


# --- Average precision

SIZE = (150, 180)
CATEGORIES = ("cat", "dog", "bird")


def rle(mask):
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


def ellipse(rng, scale):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    cy, cx = rng.uniform(0.2, 0.8, 2) * SIZE
    ry, rx = rng.uniform(0.5, 1.0, 2) * scale
    return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1


def random_instances(rng):
    """Ground truth and predictions of one picture; two categories in the ground truth, three predicted."""
    truth, guesses = [], []
    for _ in range(rng.integers(0, 7)):
        mask = ellipse(rng, rng.choice([10, 35, 75]))
        category = int(rng.integers(2))
        truth.append({"category": category, "mask": mask, "iscrowd": int(rng.random() < 0.15)})
        for _ in range(rng.integers(0, 3)):
            guess = np.roll(mask, tuple(rng.integers(-6, 7, 2)), (0, 1))
            box = (mask_utils.toBbox(rle(guess)) + [*rng.uniform(-4, 4, 2), 0, 0]).tolist()
            label = category if rng.random() < 0.8 else int(rng.integers(3))
            score = float(rng.integers(1, 20) / 20)  # Ties are part of the game.
            guesses.append({"category": label, "score": score, "mask": guess, "bbox": box})
    return truth, guesses


def official(pictures, key, category=None):
    """COCOeval on ground truth and results with only `key`: its 12 numbers."""
    images, annotations, results = [], [], []
    for image_id, (truth, guesses) in pictures.items():
        images.append({"id": image_id, "height": SIZE[0], "width": SIZE[1]})
        for g in truth:
            r = rle(g["mask"])
            shape = {"segmentation": r, "bbox": mask_utils.toBbox(r).tolist(), "area": float(mask_utils.area(r))}
            where = {"id": len(annotations) + 1, "image_id": image_id, "category_id": g["category"]}
            annotations.append(where | shape | {"iscrowd": g["iscrowd"]})
        for p in guesses:
            shape = rle(p["mask"]) if key == "segmentation" else p["bbox"]
            results.append({"image_id": image_id, "category_id": p["category"], "score": p["score"], key: shape})
    coco = COCO()
    categories = [{"id": k, "name": name} for k, name in enumerate(CATEGORIES)]
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "segm" if key == "segmentation" else "bbox")
    if category is not None:
        evaluation.params.catIds = [category]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


AP_KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def instance_state(pictures, **options):
    state = InstanceAP(CATEGORIES, **options)
    for image_id, (truth, guesses) in pictures.items():
        state.update(image_id, SIZE, truth, guesses)
    return state


def test_ap_equals_pycocotools(capsys):
    rng = np.random.default_rng(3)
    pictures = {int(image_id): random_instances(rng) for image_id in rng.permutation(1000)[:14]}
    expected = {"mask": official(pictures, "segmentation"), "box": official(pictures, "bbox")}
    by_class = {"mask": official(pictures, "segmentation", 1), "box": official(pictures, "bbox", 1)}
    capsys.readouterr()
    state = instance_state(pictures)
    result = state.compute()
    assert capsys.readouterr().out == ""
    assert list(result["per_class"]) == ["cat", "dog"]  # Nothing of the third category is in the ground truth.
    for kind in ("mask", "box"):
        assert ((0.005 < expected[kind][:6]) & (expected[kind][:6] < 0.98)).all()
        np.testing.assert_allclose([result[f"{kind}_{key}"] for key in AP_KEYS], expected[kind][:6], rtol=1e-12)
        got = [result["per_class"]["dog"].get(f"{kind}_{key}", -1) for key in AP_KEYS]
        np.testing.assert_allclose(got, by_class[kind][:6], rtol=1e-12)

    items = list(pictures.items())
    parts = [instance_state(dict(items[i::3])) for i in range(3)]
    assert parts[2].merge(pickle.loads(pickle.dumps(parts[0]))).merge(parts[1]).compute() == result

    only_masks = {
        i: (t, [{k: p[k] for k in ("category", "score", "mask")} for p in g]) for i, (t, g) in pictures.items()
    }
    only_masks = instance_state(only_masks).compute()
    assert not [key for key in only_masks if key.startswith("box")]
    assert only_masks["mask_ap"] == result["mask_ap"]


def test_every_form_of_a_mask_is_the_same():
    mask = np.zeros(SIZE, bool)
    mask[20:60, 30:90] = True
    compressed = rle(mask)
    runs = [30 * 150 + 20] + [40, 110] * 59 + [40, 150 * 180 - (89 * 150 + 60)]  # Column by column.
    forms = (
        mask,
        mask.astype(np.uint8),
        compressed,
        {"size": list(SIZE), "counts": compressed["counts"].decode()},
        {"size": list(SIZE), "counts": runs},
        [[30, 20, 90, 20, 90, 60, 30, 60]],
    )
    for form in forms:
        state = InstanceAP(("cat",))
        state.update(1, SIZE, [{"category": 0, "mask": form}], [{"category": 0, "score": 0.5, "mask": mask}])
        result = state.compute()
        assert result["mask_ap"] == result["mask_ap_medium"] == pytest.approx(1.0), form
        assert state.pictures[1].ground_truth[0]["bbox"] == [30, 20, 60, 40]
        assert state.pictures[1].ground_truth[0]["area"] == 2400


def square(x):
    mask = np.zeros(SIZE, bool)
    mask[40:80, x : x + 40] = True
    return mask


def test_ignored_ground_truth_is_neither_hit_nor_miss_nor_false_positive():
    hit = {"category": 0, "mask": square(0)}
    skipped = {"category": 0, "mask": square(80)}
    both = [{"category": 0, "score": 0.9, "mask": square(80)}, {"category": 0, "score": 0.5, "mask": square(0)}]
    none = [both[1]]

    def ap(truth, guesses, **options):
        return instance_state({1: (truth, guesses)}, **options).compute()["mask_ap"]

    assert ap([hit], both) == pytest.approx(0.5)  # A false positive before the hit.
    assert ap([hit, skipped], none) == pytest.approx(51 / 101)  # A miss: recall of 0, .01, ..., .50 is reached.
    ignored = skipped | {"ignore": 1}
    assert ap([hit, ignored], both) == ap([hit, ignored], none) == pytest.approx(1.0)
    box_only = {"category": 0, "bbox": [80, 40, 40, 40]}
    assert ap([hit, box_only], both) == pytest.approx(0.5)
    assert ap([hit, box_only], both, ignore_unmasked=True) == pytest.approx(1.0)
    elsewhere = box_only | {"category": 1}
    assert ap([hit, elsewhere], both, ignore_unmasked=True) == pytest.approx(0.5)


def test_ap_of_nothing():
    truth = [{"category": 0, "mask": square(0)}]
    silent = instance_state({1: (truth, [])}).compute()
    assert silent["mask_ap"] == silent["box_ap"] == 0.0 and "mask_ap_small" not in silent
    guess = {"category": 0, "score": 0.5, "mask": square(0)}
    assert instance_state({1: ([], [guess])}).compute() == {"per_class": {}}
    crowd = instance_state({1: ([truth[0] | {"iscrowd": 1}], [guess])}).compute()
    assert crowd == {"per_class": {}}
    json.dumps([silent, crowd], allow_nan=False)


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        ({"category": 3, "score": 0.5, "bbox": [0, 0, 1, 1]}, r"category 3 must be 0\.\.2"),
        ({"category": 0, "bbox": [0, 0, 1, 1]}, "'score'"),
        ({"category": 0, "score": float("nan"), "bbox": [0, 0, 1, 1]}, "score is nan"),
        ({"category": 0, "score": None, "bbox": [0, 0, 1, 1]}, "prediction 0 of picture 7"),
        ({"category": 0, "score": 0.5}, "neither mask nor bbox"),
        ({"category": 0, "score": 0.5, "bbox": [0, 0, -1, 1]}, "must be x, y, width, height"),
        (
            {"category": 0, "score": 0.5, "mask": np.ones((3, 4), bool)},
            r"mask is \[3, 4\]; the picture is \[150, 180\]",
        ),
        ({"category": 0, "score": 0.5, "mask": {"size": [4, 5], "counts": [20]}}, r"size \[4, 5\]"),
        ({"category": 0, "score": 0.5, "mask": [1, 2, 3, 4]}, "must hold polygons"),
    ],
)
def test_ap_refuses_bad_records(guess, message):
    with pytest.raises(InputError, match=message) as caught:
        InstanceAP(CATEGORIES).update(7, SIZE, [], [guess])
    assert "prediction 0 of picture 7" in str(caught.value) and "\n" not in str(caught.value)


def test_ap_refuses_a_picture_twice():
    state = instance_state({1: ([], [])})
    with pytest.raises(InputError, match="picture 1"):
        state.update(1, SIZE, [], [])
    with pytest.raises(InputError, match="picture 1"):
        state.merge(instance_state({1: ([], [])}))
