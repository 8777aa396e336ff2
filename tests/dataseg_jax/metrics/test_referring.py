"""Referring measures against a count pixel by pixel."""

import pickle

import numpy as np
import pytest

from dataseg_jax.metrics import ReferringIoU
from tests.messages import one_line


def phrases(count=40, seed=0):
    """(truth, prediction, first): some truths and some predictions are empty; IoUs of .5 and .6 occur."""
    rng = np.random.default_rng(seed)
    for n in range(count):
        truth = np.zeros((6, 10), bool)
        truth[1:5, rng.integers(0, 3) : rng.integers(5, 10)] = n % 5 != 0
        guess = truth ^ (rng.random(truth.shape) < (n % 8) / 10)
        yield truth, guess & (n % 7 != 0), n % 3 == 0
    row = np.arange(60).reshape(6, 10)
    yield row < 10, row < 5, True
    yield row < 6, row < 10, False


def naive(triples):
    """The scores by loops over pixels."""
    ious, both, either, absent = [], 0, 0, []
    for truth, guess, _ in triples:
        i = sum(bool(t and g) for t, g in zip(truth.flat, guess.flat, strict=True))
        u = sum(bool(t or g) for t, g in zip(truth.flat, guess.flat, strict=True))
        if not any(truth.flat):
            absent.append(u == 0)
            continue
        ious.append(i / u)
        both, either = both + i, either + u
    result = {"miou": sum(ious) / len(ious), "oiou": both / either, "phrases": len(ious)}
    result |= {f"p{t}": sum(iou >= t / 100 for iou in ious) / len(ious) for t in (50, 60, 70, 80, 90)}
    return result | {"absent": len(absent), "absent_empty": sum(absent) / len(absent)}


def measured(triples):
    state = ReferringIoU()
    for triple in triples:
        state.update(*triple)
    return state


def test_equal_to_a_count_pixel_by_pixel():
    triples = list(phrases())
    expected = naive(triples)
    expected |= {f"first_{name}": value for name, value in naive([t for t in triples if t[2]]).items()}
    result = measured(triples).compute()
    assert result == pytest.approx(expected, abs=1e-12)
    assert 0 < result["absent_empty"] < 1 and result["miou"] != pytest.approx(result["first_miou"])


def test_a_threshold_is_passed_at_an_iou_equal_to_it():
    pixels = np.arange(100).reshape(10, 10)
    for n, passed in ((50, "p50"), (60, "p60"), (70, "p70"), (80, "p80"), (90, "p90")):
        for truth, guess in (((pixels < 100), (pixels < n)), ((pixels < n), (pixels < 100))):
            assert measured([(truth, guess)]).compute()[passed] == 1
        assert measured([(pixels < 100, pixels < n - 1)]).compute()[passed] == 0


def test_shards_add_up_and_can_be_sent():
    triples = list(phrases())
    parts = [measured(triples[n::3]) for n in range(3)]
    sent = [pickle.loads(pickle.dumps(part)) for part in parts]
    merged = sent[2].merge(sent[0]).merge(sent[1]).compute()
    assert merged == pytest.approx(measured(triples).compute(), abs=1e-12)
    assert parts[0].compute() == sent[0].compute()  # Merging changes neither of the two.
    assert ReferringIoU().compute() == {} == ReferringIoU().merge(ReferringIoU()).compute()


def test_empty_answers():
    full, empty = np.ones((2, 3), bool), np.zeros((2, 3), bool)
    assert measured([(full, None, False)]).compute() == {"miou": 0, "oiou": 0, "phrases": 1} | dict.fromkeys(
        ("p50", "p60", "p70", "p80", "p90"), 0
    )
    assert measured([(empty, None, False), (empty, full, False)]).compute() == {"absent": 2, "absent_empty": 0.5}
    both = measured([(full, full, False), (empty, full, False)]).compute()
    assert both["miou"] == both["oiou"] == both["p90"] == 1.0  # An absent phrase is no part of these.


@pytest.mark.parametrize(
    "truth, guess, said",
    [
        (np.zeros((4, 4), bool), np.zeros((4, 5), bool), "the truth is [4, 4] and the prediction [4, 5]"),
        (np.zeros(4, bool), None, "both must be one [H, W]"),
        (np.zeros((0, 4), bool), None, "both must be one [H, W]"),
        (np.zeros((4, 4), np.uint8), None, "the truth is uint8; it must be bool"),
        (np.zeros((4, 4), bool), np.zeros((4, 4)), "the prediction is float64; it must be bool"),
    ],
)
def test_what_cannot_be_scored(truth, guess, said):
    one_line(lambda: ReferringIoU().update(truth, guess), said)
