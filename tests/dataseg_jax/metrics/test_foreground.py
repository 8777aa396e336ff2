"""Foreground measures: numbers of the field's tool, and what a measure may not depend on.

The tool, PySODMetrics 1.6.2, limits numpy's version, so it cannot be installed beside this: `TOOL` is what it printed
for `images()`. On each of 16 random and constant images all nine agreed to 1e-9, and on its own fixture of three images
with the values that it publishes, to every digit shown.
"""

import numpy as np
import pytest

from dataseg_jax.metrics import ForegroundMeasures
from tests.messages import one_line

TOOL = {
    "mae": 0.268297, "s_measure": 0.655201, "weighted_f_measure": 0.452985, "f_measure": 0.608808,
    "f_measure_mean": 0.508469, "f_measure_adaptive": 0.4809, "e_measure": 0.727454, "e_measure_mean": 0.59672,
    "e_measure_adaptive": 0.684474,
}  # fmt: skip


def images():
    """(truth bool, prediction uint8) of six ellipses, of an empty and a full truth, and of a constant prediction."""
    y, x = np.mgrid[:48, :64]
    for i in range(6):
        truth = ((x - 20 - 4 * i) / (8 + 2 * i)) ** 2 + ((y - 24) / (6 + 3 * i)) ** 2 < 1
        distance = np.hypot((x - 24 - 4 * i) / (9 + i), (y - 22 - i) / (8 + 2 * i)) - 1
        soft = 255 / (1 + np.exp(distance * (2 + i)))
        stripes = 17 * ((x * 7 + y * 13 + i) % 11) / 10
        yield truth, (soft * (0.6 + 0.08 * i) + stripes).clip(0, 255).astype(np.uint8)
    yield np.zeros((48, 64), bool), (x * 3).astype(np.uint8)
    yield np.ones((48, 64), bool), (y * 4).astype(np.uint8)
    yield truth, np.full((48, 64), 90, np.uint8)


def measured(pairs):
    state = ForegroundMeasures()
    for truth, guess in pairs:
        state.update(truth, guess)
    return state


def test_equal_to_the_tool():
    result = measured(images()).compute()
    assert result.pop("images") == 9 and result.keys() == TOOL.keys()
    for name, value in TOOL.items():
        assert result[name] == pytest.approx(value, abs=2e-6), name


def test_shards_add_up():
    pairs = list(images())
    parts = measured(pairs[:4]).merge(measured(pairs[4:])).compute()
    assert parts == pytest.approx(measured(pairs).compute(), abs=1e-12)
    assert ForegroundMeasures().compute() == {}


def test_a_perfect_answer():
    pairs = [(truth, (255 * truth).astype(np.uint8)) for truth, _ in list(images())[:6]]
    result = measured(pairs).compute()
    assert result["mae"] == 0
    for name in ("f_measure", "weighted_f_measure", "e_measure", "s_measure"):
        assert result[name] == pytest.approx(1, abs=1e-3), name


def test_brightness_is_stretched_and_mirroring_changes_little():
    pairs = list(images())[:6]
    dim = measured((t, g / 255 * 0.5 + 0.2) for t, g in pairs).compute()
    assert dim["mae"] == pytest.approx(measured(pairs).compute()["mae"], abs=1e-6)
    mirrored = measured((t[:, ::-1], g[:, ::-1]) for t, g in pairs).compute()
    for name in ("mae", "f_measure", "e_measure_mean"):  # S rounds the centre up.
        assert mirrored[name] == pytest.approx(measured(pairs).compute()[name], abs=1e-9)


@pytest.mark.parametrize(
    "truth, guess, said",
    [
        (np.zeros((4, 4), bool), np.zeros((4, 5)), "both must be one [H, W]"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), "the truth is uint8; it must be bool"),
        (np.zeros((4, 4), bool), np.full((4, 4), 2.0), "floats within 0 and 1"),
        (np.zeros((4, 4), bool), np.full((4, 4), np.nan), "floats within 0 and 1"),
    ],
)
def test_what_cannot_be_scored(truth, guess, said):
    one_line(lambda: ForegroundMeasures().update(truth, guess), said)
