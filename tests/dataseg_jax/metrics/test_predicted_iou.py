"""The rank correlation against SciPy's."""

import pickle

import numpy as np
import pytest
from scipy import stats

from dataseg_jax.metrics import IoURankCorrelation
from tests.messages import one_line


def measured(*parts):
    state = IoURankCorrelation()
    for part in parts:
        state.update(*part)
    return state


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_scipy_with_ties(seed):
    rng = np.random.default_rng(seed)
    true = np.float32(rng.integers(0, 9, 80) / 8)
    predicted = np.float32(np.round(true * rng.uniform(-1, 1) + rng.normal(size=80), seed % 3))
    found = measured((predicted[:30], true[:30]), (predicted[30:], true[30:])).compute()
    assert found == {"masks": 80, "iou_rank_correlation": pytest.approx(stats.spearmanr(predicted, true)[0], abs=1e-12)}


def test_only_the_order_counts():
    true = np.linspace(0.1, 0.9, 20)
    assert measured((true**5 * 100 - 3, true)).compute()["iou_rank_correlation"] == pytest.approx(1)
    assert measured((-true, true)).compute()["iou_rank_correlation"] == pytest.approx(-1)


def test_shards_add_up_and_can_be_sent():
    rng = np.random.default_rng(0)
    pairs = rng.random((3, 2, 15))
    parts = [pickle.loads(pickle.dumps(measured(pair))) for pair in pairs]
    before = parts[0].compute()
    whole = measured(*pairs).compute()
    assert parts[2].merge(parts[0]).merge(parts[1]).compute() == pytest.approx(whole, abs=1e-12)
    assert parts[0].compute() == before != whole


def test_undefined_without_a_spread():
    assert IoURankCorrelation().compute() == {} == IoURankCorrelation().merge(IoURankCorrelation()).compute()
    assert measured(([0.5, 0.5], [0.1, 0.2])).compute() == {"masks": 2} == measured(([0.1, 0.2], [1, 1])).compute()
    assert measured((0.5, 0.5)).compute() == {"masks": 1}
    assert measured(([], [])).compute() == {}


def test_what_cannot_be_scored():
    one_line(lambda: measured(([0.1], [0.1, 0.2])), "predicted IoUs are [1] and true ones [2]; both must be one [n]")
    one_line(lambda: measured(([0.1, np.nan], [0.1, 0.2])), "predicted IoU 1 is not finite")
    one_line(lambda: measured(([0.1], [np.inf])), "true IoU 0 is not finite")
