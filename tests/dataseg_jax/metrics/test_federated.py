"""LVIS's scoring against its rules written as plain loops over images, categories and predictions."""

import numpy as np
import pytest

from dataseg_jax.metrics import InstanceAP
from dataseg_jax.metrics.federated import MOST_PREDICTIONS, federated

HEIGHT, WIDTH, K = 40, 50, 6


def image(rng, crowded=False):
    """Some squares, predictions near and far, and what was looked for. Areas on both sides of small (32 x 32)."""

    def square(size):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        top, left = rng.integers(0, HEIGHT - 3), rng.integers(0, WIDTH - 3)
        mask[top : top + size, left : left + size] = True
        return mask

    truth = [{"category": int(rng.integers(K)), "mask": square(rng.integers(3, 38))} for _ in range(rng.integers(0, 7))]
    guesses = []
    for record in truth:
        for shift in rng.integers(0, 7, rng.integers(0, 3)):
            guesses.append({"category": record["category"], "mask": np.roll(record["mask"], shift, 1)})
    count = 400 if crowded else rng.integers(0, 20)
    guesses += [{"category": int(rng.integers(K)), "mask": square(rng.integers(3, 38))} for _ in range(count)]
    guesses.append({"category": int(rng.integers(K)), "mask": np.zeros((HEIGHT, WIDTH), bool)})
    scores = rng.permutation(len(guesses)) / len(guesses)
    guesses = [guess | {"score": float(score)} for guess, score in zip(guesses, scores, strict=True)]
    free = sorted(set(range(K)) - {r["category"] for r in truth})
    absent = [k for k in free if rng.random() < 0.4]
    incomplete = [k for k in range(K) if rng.random() < 0.3]
    return truth, guesses, absent, incomplete


def naive(images, threshold, smallest, largest):
    """Mean over categories of the precision at 101 recalls, for objects of these areas."""
    scores = []
    for k in range(K):
        hits, objects = [], 0  # (score, is a hit) of what counts.
        for truth, guesses, absent, incomplete in images:
            if k not in absent and not any(r["category"] == k for r in truth):
                continue
            mine = [r["mask"] for r in truth if r["category"] == k]
            inside = [smallest <= m.sum() <= largest for m in mine]
            objects += sum(inside)
            best = sorted(guesses, key=lambda g: -g["score"])[:MOST_PREDICTIONS]
            taken = [False] * len(mine)
            for guess in best:
                if guess["category"] != k or not guess["mask"].any():
                    continue
                match, iou_of_match = None, 0.0
                for regular in (True, False):  # An object outside of the range is matched only if no other is.
                    for i, mask in enumerate(mine):
                        union = (mask | guess["mask"]).sum()
                        iou = (mask & guess["mask"]).sum() / union if union else 0.0
                        if match is None or inside[match] == inside[i]:
                            if inside[i] == regular and not taken[i] and iou >= max(threshold, iou_of_match):
                                match, iou_of_match = i, iou
                if match is not None:
                    taken[match] = True
                    if inside[match]:
                        hits.append((guess["score"], True))
                elif k not in incomplete and smallest <= guess["mask"].sum() <= largest:
                    hits.append((guess["score"], False))
        if not objects:
            continue
        hits = [hit for _, hit in sorted(hits, key=lambda pair: -pair[0])]
        precision = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
        recall = [sum(hits[: i + 1]) / objects for i in range(len(hits))]
        for level in np.linspace(0, 1, 101):
            scores.append(max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0.0))
    return np.mean(scores)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_rules(seed):
    rng = np.random.default_rng(seed)
    images = [image(rng, crowded=number == 0) for number in range(6)]
    state = InstanceAP([f"c{k}" for k in range(K)], most_predictions=MOST_PREDICTIONS)
    plain = InstanceAP([f"c{k}" for k in range(K)])
    for number, (truth, guesses, absent, incomplete) in enumerate(images):
        state.update(number, (HEIGHT, WIDTH), *federated((HEIGHT, WIDTH), truth, guesses, absent, incomplete))
        plain.update(number, (HEIGHT, WIDTH), truth, guesses)
    scores = state.compute()
    for key, threshold, smallest, largest in (
        ("mask_ap50", 0.5, 0, 1e10),
        ("mask_ap75", 0.75, 0, 1e10),
    ):
        assert scores[key] == pytest.approx(naive(images, threshold, smallest, largest), abs=1e-9)
    thresholds = np.linspace(0.5, 0.95, 10)
    assert scores["mask_ap_small"] == pytest.approx(np.mean([naive(images, t, 0, 32**2) for t in thresholds]), abs=1e-9)
    assert scores["mask_ap50"] > plain.compute()["mask_ap50"] + 0.01  # The rules forgive.


def test_more_than_a_hundred_of_one_category_count():
    rng = np.random.default_rng(0)
    squares = np.zeros((120, HEIGHT, WIDTH), bool)
    for i, square in enumerate(squares):
        square[4 * (i // 12) : 4 * (i // 12) + 3, 4 * (i % 12) : 4 * (i % 12) + 3] = True
    truth = [{"category": 0, "mask": mask} for mask in squares]
    guesses = [
        {"category": 0, "mask": mask, "score": float(score)}
        for mask, score in zip(squares, rng.random(120), strict=True)
    ]
    for most, full in ((100, False), (MOST_PREDICTIONS, True)):
        state = InstanceAP(["c"], most_predictions=most)
        state.update(0, (HEIGHT, WIDTH), *federated((HEIGHT, WIDTH), truth, guesses, (), ()))
        assert (state.compute()["mask_ap"] == 1.0) == full
