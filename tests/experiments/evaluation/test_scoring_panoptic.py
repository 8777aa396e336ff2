"""Scores of panoptic files against the official rules, written as loops over pixels, for every way to be wrong."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.evaluation.scoring.panoptic import score_miou_panoptic, score_pq
from tests.experiments.panoptic_files import write_panoptic

CATEGORIES = [
    {"id": 1, "name": "cat", "isthing": 1},
    {"id": 5, "name": "dog", "isthing": 1},
    {"id": 90, "name": "sky", "isthing": 0},
    {"id": 184, "name": "sea", "isthing": 0},
]
IDS = [c["id"] for c in CATEGORIES]


def scene(rng, void=0.1, crowd=0.1):
    """An image of 4 x 5 patches of 6 x 7 pixels: ids, {id: [category, iscrowd]}."""
    patches = rng.integers(1, 9, (4, 5))
    numbers = {int(n): int(rng.integers(1, 1 << 24)) for n in np.unique(patches)}
    ids = np.kron(np.vectorize(numbers.get)(patches), np.ones((6, 7), int))
    segments = {s: [int(rng.choice(IDS)), int(rng.random() < crowd)] for s in numbers.values()}
    for s in list(segments):
        if rng.random() < void:
            ids[ids == s] = 0
            del segments[s]
    return ids, segments


def same(rng, ids, segments):
    """A perfect prediction under ids of its own; crowds are predicted as one segment."""
    new = {s: n for n, s in enumerate(segments, 40_000)}
    return np.vectorize(lambda v: new.get(v, 0))(ids), {new[s]: [c, 0] for s, (c, _) in segments.items()}


def dropped(rng, ids, segments):
    gone = [s for s in segments if rng.random() < 0.4]
    return np.where(np.isin(ids, gone), 0, ids), {s: v for s, v in segments.items() if s not in gone}


def shifted(rng, ids, segments):
    return np.roll(ids, tuple(rng.integers(-2, 3, 2)), (0, 1)), segments


def merged(rng, ids, segments):
    ids = ids.copy()
    for a, b in zip(list(segments)[::2], list(segments)[1::2], strict=False):
        if rng.random() < 0.5:
            ids[ids == b] = a
    return ids, segments


def split(rng, ids, segments):
    ids, segments = ids.copy(), dict(segments)
    for s in list(segments):
        ys, xs = np.nonzero(ids == s)
        part = xs < xs.min() + rng.integers(0, 12) if len(xs) else slice(0)
        ids[ys[part], xs[part]] = s + 1
        segments[s + 1] = segments[s]
    return ids, segments


def relabelled(rng, ids, segments):
    return ids, {s: [int(rng.choice(IDS)) if rng.random() < 0.4 else c, w] for s, (c, w) in segments.items()}


def on_void(rng, ids, segments):
    """What no truth is labelled with is predicted too, part of it across the border."""
    spread = np.where(ids == 0, 77, ids)
    spread[:, : rng.integers(0, 6)] = 77
    return spread, segments | {77: [int(rng.choice(IDS)), 0]}


def nothing(rng, ids, segments):
    return np.zeros_like(ids), {}


def noise(rng, ids, segments):
    return np.where(rng.random(ids.shape) < 0.4, 1234567, ids), segments | {1234567: [5, 0]}


def everything(rng, ids, segments):
    for way in (shifted, split, merged, relabelled, dropped, on_void):
        ids, segments = way(rng, ids, segments)
    return ids, segments


WAYS = (same, dropped, shifted, merged, split, relabelled, on_void, nothing, noise, everything)


def write_sides(folder, way, count=20, seed=0):
    """Ground truth and predictions of `count` images; one is all void, one has a single segment."""
    rng = np.random.default_rng(seed)
    sides = {}, {}
    for n in range(count):
        ids, segments = scene(rng, void=1.0 if n == 3 else 0.15, crowd=0.6 if n % 3 == 0 else 0.1)
        if n == 4:
            ids, segments = np.full((6, 9), 9), {9: [90, 0]}
        guess, found = way(rng, ids, segments)
        sides[0][n] = ids, [(s, c, w) for s, (c, w) in segments.items()]
        sides[1][n] = guess, [(s, c, 0) for s, (c, _) in found.items() if (guess == s).any()]
    return [
        str(write_panoptic(folder / f"{name}.json", side, categories=CATEGORIES))
        for name, side in zip(("truth", "guess"), sides, strict=True)
    ]


def pixels(path, annotation):
    with Image.open(Path(path).with_suffix("") / annotation["file_name"]) as image:
        rgb = np.asarray(image).astype(int)
    return (rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]).ravel().tolist()


def naive_pq(truth_path, guess_path):
    """{category id: [iou, tp, fp, fn]} by the official rules: dictionaries, one pixel and one segment at a time."""
    truth, guess = (json.loads(Path(path).read_text()) for path in (truth_path, guess_path))
    answers = {a["image_id"]: a for a in guess["annotations"]}
    sums = defaultdict(lambda: [0.0, 0, 0, 0])
    for true in truth["annotations"]:
        answer = answers[true["image_id"]]
        both, area = defaultdict(int), defaultdict(int)
        for g, p in zip(pixels(truth_path, true), pixels(guess_path, answer), strict=True):
            both[g, p] += 1
            area[p] += 1
        hit_truths, hit_guesses = set(), set()
        for p in answer["segments_info"]:
            for g in true["segments_info"]:
                if g["category_id"] == p["category_id"] and not g["iscrowd"]:
                    shared = both[g["id"], p["id"]]
                    iou = shared / (g["area"] + area[p["id"]] - shared - both[0, p["id"]])
                    if iou > 0.5:
                        sums[g["category_id"]][0] += iou
                        sums[g["category_id"]][1] += 1
                        hit_truths.add(g["id"])
                        hit_guesses.add(p["id"])
        for g in true["segments_info"]:
            if g["id"] not in hit_truths and not g["iscrowd"]:
                sums[g["category_id"]][3] += 1
        for p in answer["segments_info"]:
            crowd = None
            for g in true["segments_info"]:
                if g["iscrowd"] and g["category_id"] == p["category_id"]:
                    crowd = g["id"]
            excused = both[0, p["id"]] + (both[crowd, p["id"]] if crowd else 0)
            if p["id"] not in hit_guesses and not excused / area[p["id"]] > 0.5:
                sums[p["category_id"]][2] += 1
    return sums


def check_pq(truth, guess, **options):
    """Every number of `score_pq` against the loops; returns the sums."""
    result, sums = score_pq(truth, guess, **options), naive_pq(truth, guess)
    rows = {}
    for c in CATEGORIES:
        iou, tp, fp, fn = sums[c["id"]]
        if tp + fp + fn:
            weight = tp + fp / 2 + fn / 2
            rows[c["name"]] = {"pq": iou / weight, "sq": iou / tp if tp else 0.0, "rq": tp / weight}
            assert result["per_class"][c["name"]] == pytest.approx(
                rows[c["name"]] | {"tp": tp, "fp": fp, "fn": fn}, rel=1e-9
            )
    assert result["per_class"].keys() == rows.keys()
    for suffix, kinds in (("", (0, 1)), ("_things", (1,)), ("_stuff", (0,))):
        group = [rows[c["name"]] for c in CATEGORIES if c["isthing"] in kinds and c["name"] in rows]
        assert result[f"n{suffix}"] == len(group)
        for key in ("pq", "sq", "rq"):
            assert result[key + suffix] == pytest.approx(np.mean([row[key] for row in group]), rel=1e-9)
    return np.sum(list(sums.values()), 0)


@pytest.mark.parametrize("way", WAYS)
def test_pq_of_every_way_to_be_wrong(tmp_path, way):
    iou, hits, false, missed = check_pq(*write_sides(tmp_path, way))
    assert hits + missed > 60
    match way.__name__:
        case "same":
            # What is predicted on crowds is excused, but, as in panopticapi, on one crowd a category and image.
            assert iou == hits and not missed and false == 4
        case "nothing":
            assert not hits and not false
        case "dropped" | "merged":
            assert hits and missed
        case "noise" | "everything" | "relabelled" | "split":
            assert hits and missed and false
        case _:
            assert 0 < iou < hits or false


def test_pq_believes_the_areas_of_the_ground_truth_file(tmp_path):
    truth, guess = write_sides(tmp_path, shifted)
    plain = score_pq(truth, guess)["pq"]
    content = json.loads(Path(truth).read_text())
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            segment["area"] = round(segment["area"] * 1.3)
    Path(truth).write_text(json.dumps(content))
    check_pq(truth, guess)
    stated = score_pq(truth, guess)["pq"]
    assert stated < plain
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            del segment["area"]  # panopticapi stops here; the pixels are counted instead.
    Path(truth).write_text(json.dumps(content))
    assert score_pq(truth, guess)["pq"] == plain


@pytest.mark.parametrize("way", [shifted, nothing, noise, everything])
def test_miou_of_panoptic_files_is_a_confusion_matrix(tmp_path, way):
    truth_path, guess_path = write_sides(tmp_path, way)
    truth, guess = (json.loads(Path(path).read_text()) for path in (truth_path, guess_path))
    confusion = defaultdict(int)
    for true, answer in zip(truth["annotations"], guess["annotations"], strict=True):
        category = [{s["id"]: s["category_id"] for s in side["segments_info"]} for side in (true, answer)]
        for g, p in zip(pixels(truth_path, true), pixels(guess_path, answer), strict=True):
            confusion[category[0].get(g), category[1].get(p)] += 1
    result, present = score_miou_panoptic(truth_path, guess_path), []
    for c in CATEGORIES:
        k = c["id"]
        hit = confusion[k, k]
        true = sum(n for (g, _), n in confusion.items() if g == k)
        false = sum(n for (g, p), n in confusion.items() if p == k and g not in (k, None))
        if true:
            present.append(hit / (true + false))
            assert result["per_class"][c["name"]]["iou"] == pytest.approx(present[-1], rel=1e-9)
    assert result["miou"] == pytest.approx(np.mean(present), rel=1e-9)
    labelled = sum(n for (g, _), n in confusion.items() if g is not None)
    right = sum(n for (g, p), n in confusion.items() if g is not None and g == p)
    assert result["pixel_accuracy"] == pytest.approx(right / labelled, rel=1e-9)


def test_chunks_and_processes_change_nothing(tmp_path):
    truth, guess = write_sides(tmp_path, everything, count=70)
    check_pq(truth, guess, workers=2)
    one, two = (score_miou_panoptic(truth, guess, workers=n) for n in (1, 2))
    assert one == two
