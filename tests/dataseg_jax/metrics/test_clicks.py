"""Clicks and their metrics against loops over pixels and objects."""

import math
import pickle

import numpy as np
import pytest

from dataseg_jax.metrics import ClickIoU
from dataseg_jax.metrics.clicks import FedBack, click_ious, next_click
from tests.messages import one_line


def naive_click(truth, prediction):
    """The rule by the distance of every wrong pixel to every pixel that is not wrong in the same way."""
    height, width = truth.shape
    best = {}
    for label, wrong in ((1, truth & ~prediction), (0, prediction & ~truth)):
        right = [
            (y, x)
            for y in range(-1, height + 1)
            for x in range(-1, width + 1)
            if not (0 <= y < height and 0 <= x < width and wrong[y, x])
        ]
        best[label] = (0, None, None)
        for y in range(height):
            for x in range(width):
                if wrong[y, x]:
                    near = min((y - v) ** 2 + (x - u) ** 2 for v, u in right)
                    if near > best[label][0]:
                        best[label] = (near, x, y)
    label = int(best[1][0] > best[0][0])
    return (*best[label][1:], label) if best[label][0] else None


@pytest.mark.parametrize("seed", range(25))
def test_the_next_click_is_that_of_the_loops(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:13, :17]
    truth, prediction = (
        (y - rng.integers(13)) ** 2 + (x - rng.integers(17)) ** 2 <= rng.integers(1, 8) ** 2 for _ in range(2)
    )
    prediction ^= rng.random(truth.shape) < 0.1 * (seed % 3)
    if seed % 5 == 0:
        prediction = truth ^ (rng.random(truth.shape) < 0.2)  # Many errors as deep as each other.
    assert next_click(truth, prediction) == naive_click(truth, prediction)
    assert next_click(truth) == naive_click(truth, np.zeros_like(truth))


def test_first_click_errors_and_ties():
    truth = np.zeros((20, 30), bool)
    truth[4:13, 6:17] = True
    assert next_click(truth) == (10, 8, 1)
    assert next_click(truth, truth) is None
    assert next_click(np.ones((9, 9), bool)) == (4, 4, 1)  # The image ends at its edge: not at a corner.
    shifted = np.roll(truth, 12, 1)
    assert next_click(truth, shifted) == (22, 8, 0)  # As deep an error of either kind: the negative one.
    shifted[4, :] = False
    assert next_click(truth, shifted) == (10, 8, 1)


def naive_scores(trajectories, most, target):
    at = [[values[min(n, len(values)) - 1] for values in trajectories] for n in (1, 3, 5)]
    firsts = [next((n + 1 for n, v in enumerate(values) if v >= target), None) for values in trajectories]
    scores = {f"miou_{n}": sum(values) / len(values) for n, values in zip((1, 3, 5), at, strict=True)}
    name = f"{round(100 * target)}"
    scores[f"noc_{name}"] = sum(most if n is None else n for n in firsts) / len(firsts)
    scores[f"failed_{name}"] = sum(n is None for n in firsts) / len(firsts)
    return scores | {"objects": len(trajectories)}


def trajectories(count=30, most=20, target=0.9, seed=0):
    rng = np.random.default_rng(seed)
    for n in range(count):
        values = rng.random(most) * (1 if n % 3 else target)
        reached = [i for i, v in enumerate(values) if v >= target and i >= 4]
        if reached:
            values = values[: reached[0] + 1]
        if n % 7 == 0:
            values = [*values[: n // 7 % 5], 1.0]  # Perfect after a few clicks.
        yield list(map(float, values))
    yield [0.2, 0.9, 0.5, 0.4, 0.95]  # Reached, lost, and reached again: the first counts.


def measured(values, **options):
    state = ClickIoU(**options)
    for one in values:
        state.update(one)
    return state


@pytest.mark.parametrize("most, target", [(20, 0.9), (20, 0.85), (7, 0.95)])
def test_scores_are_those_of_the_loops(most, target):
    values = list(trajectories(30, most, target))[: 30 if target > 0.9 else 31]
    result = measured(values, most=most, target=target).compute()
    assert result == pytest.approx(naive_scores(values, most, target), abs=1e-12)
    assert 0 < result[f"failed_{round(100 * target)}"] < 1


def test_shards_add_up_and_can_be_sent():
    values = list(trajectories())
    parts = [pickle.loads(pickle.dumps(measured(values[n::3]))) for n in range(3)]
    before = parts[0].compute()
    assert parts[2].merge(parts[0]).merge(parts[1]).compute() == pytest.approx(measured(values).compute(), abs=1e-12)
    assert parts[0].compute() == before
    assert ClickIoU().compute() == {} == ClickIoU().merge(ClickIoU()).compute()
    one_line(lambda: ClickIoU().merge(ClickIoU(most=9)), "cannot be merged with those up to 9 and to 0.9")


class Discs:
    """Answers with discs of some radius at positive clicks, less those at negative ones."""

    def __init__(self, shape, radius):
        self.y, self.x = np.mgrid[: shape[0], : shape[1]]
        self.radius, self.calls = radius, []

    def __call__(self, points, labels, objects):
        self.calls.append((points.copy(), labels.copy(), objects.tolist()))
        return np.stack([self._mask(*one) for one in zip(points, labels, strict=True)])

    def _mask(self, points, labels):
        mask = np.zeros(self.x.shape, bool)
        for (x, y), label in zip(points, labels, strict=True):
            mask[(self.x - x) ** 2 + (self.y - y) ** 2 <= self.radius**2] = label
        return mask


def objects():
    truths = np.zeros((4, 40, 50), bool)
    truths[0, 5:12, 5:12] = True
    truths[1, 10:38, 4:46] = True
    truths[2] = Discs((40, 50), 4)._mask([(30, 20)], [1])  # Perfect after one click.
    truths[3, 30:33, 2:48] = True
    return truths


def test_simulated_clicks_are_those_of_one_object_at_a_time():
    truths, predict = objects(), Discs((40, 50), 4)
    found = click_ious(truths, predict, most=12)
    for truth, values in zip(truths, found, strict=True):
        alone, clicks, mask = [], [], np.zeros_like(truth)
        while len(alone) < 12 and (mask != truth).any() and not (len(alone) >= 5 and alone[-1] >= 0.9):
            clicks.append(naive_click(truth, mask))
            mask = predict._mask([c[:2] for c in clicks], [c[2] for c in clicks])
            alone.append((mask & truth).sum() / (mask | truth).sum())
        assert values == alone
    assert found[2] == [1.0] and len(found[1]) == 12 and 5 <= len(found[0])
    ClickIoU(most=12).update(found[1])
    sizes = [points.shape[1] for points, _, _ in predict.calls]
    assert sizes == list(range(1, len(sizes) + 1))  # All objects of a round at once.
    assert predict.calls[0][2] == [0, 1, 2, 3] and predict.calls[1][2] == [0, 1, 3]


def test_logits_are_fed_back_by_object():
    discs, asked = Discs((40, 50), 4), []

    class Predictor:
        def predict(self, points, labels, masks, multimask):
            asked.append((masks, multimask))
            right = discs(points, labels, np.arange(len(points)))[:, None]
            count = 3 if multimask else 1
            masks = np.repeat(right, count, 1)
            masks[:, :-1] = False  # Only the last is any good, and says so.
            low_res = masks[..., ::4, ::4] * 2.0 - 1
            return masks, np.tile(np.linspace(0.1, 0.9, count), (len(points), 1)), low_res

    found = click_ious(objects(), FedBack(Predictor()), most=6)
    assert found == click_ious(objects(), Discs((40, 50), 4), most=6)
    assert asked[0] == (None, True) and all(multimask is False for _, multimask in asked[1:])
    first = discs.calls[0]
    for fed, i in zip(asked[1][0], (0, 1, 3), strict=True):
        assert (fed == discs._mask(first[0][i], first[1][i])[::4, ::4] * 2.0 - 1).all()


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: next_click(np.zeros((4, 4), bool), np.zeros((4, 5), bool)), "the prediction [4, 5]"),
        (lambda: next_click(np.zeros(4, bool)), "both must be one [H, W]"),
        (lambda: next_click(np.zeros((4, 4), np.uint8)), "the truth is uint8; it must be bool"),
        (lambda: click_ious(np.zeros((2, 4, 4), bool), None), "object 0 has no pixel"),
        (lambda: ClickIoU(most=4), "most is 4; it must be at least 5"),
        (lambda: ClickIoU(target=90), "target is 90; it must be above 0 and at most 1"),
        (lambda: ClickIoU().update([]), "an object has 0 IoUs; it must have 1 to 20"),
        (lambda: ClickIoU().update([0.1] * 21), "an object has 21 IoUs"),
        (lambda: ClickIoU().update([0.95] * 4), "an object has 4 IoUs and the last is 0.95"),
        (lambda: ClickIoU().update([0.8] * 19), "clicks end at 20, or from 5 on at 0.9, or at a perfect mask"),
        (lambda: ClickIoU().update([math.nan]), "an IoU is nan; it must be within 0 .. 1"),
    ],
)
def test_what_cannot_be_scored(call, said):
    one_line(call, said)
