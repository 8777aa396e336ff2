"""Small holes and islands against loops over SciPy's components."""

import numpy as np
import pytest

from dataseg_jax.inference.promptable.automatic.regions import clean
from tests.dataseg_jax.inference.promptable.automatic import oracle


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_the_loops(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((24, 31)) < rng.uniform(0.05, 0.95)
    for least in (1, 2, 5, 30, 24 * 31 + 1):
        cleaned, changed = clean(mask, least)
        expected, expected_change = oracle.clean(mask, least)
        assert (cleaned == expected).all() and changed == expected_change
        assert changed != np.array_equal(mask, cleaned)


def test_diagonal_pixels_belong_together():
    mask = np.eye(6, dtype=bool)
    assert not clean(mask, 6)[1]  # One island of 6 pixels; in rows and columns alone they would be 6 of one.
    alone = np.zeros((20, 20), bool)
    alone[2:4, 2:4] = alone[10, 10:15] = alone[15:18, 2:4] = True
    cleaned, changed = clean(alone, 100)
    assert changed and cleaned.sum() == 6 and cleaned[15:18, 2:4].all()  # The largest of only small ones.


def test_a_hole_and_an_island():
    mask = np.zeros((30, 30), bool)
    mask[5:20, 5:20] = True
    mask[10:12, 10:12] = False
    mask[25, 25] = True
    whole = np.zeros((30, 30), bool)
    whole[5:20, 5:20] = True
    assert (clean(mask, 5)[0] == whole).all() and (clean(mask, 1)[0] == mask).all() and not clean(mask, 1)[1]
    assert clean(mask, 4)[0].sum() == mask.sum() - 1  # A hole of 4 pixels is not below 4.


def test_nothing_and_everything():
    for mask in (np.zeros((5, 6), bool), np.ones((5, 6), bool)):
        cleaned, changed = clean(mask, 10)
        assert (cleaned == mask).all() and not changed
