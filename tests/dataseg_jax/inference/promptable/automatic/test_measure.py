"""Stability, area and box of masks against loops over pixels."""

import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.inference.promptable.automatic.measure import measure
from tests.dataseg_jax.inference.promptable.automatic import oracle


def check(found, logits, threshold, offset):
    for i, one in enumerate(logits):
        mask = one > np.float32(threshold)
        assert found.area[i] == mask.sum()
        assert found.box[i].tolist() == list(map(int, oracle.box(mask)))
        expected = oracle.stability(one, threshold, offset)
        assert np.array_equal(found.stability[i], expected, equal_nan=True) and found.stability.dtype == np.float32
        assert (found.masks[i, : one.shape[0], : one.shape[1]] == mask).all()


@pytest.mark.parametrize("place", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("threshold, offset", [(0.0, 1.0), (0.25, 0.5), (0.0, 0.0), (-1.5, 2.0)])
def test_equal_to_the_loops(threshold, offset, place):
    rng = np.random.default_rng(0)
    logits = np.float32(rng.integers(-12, 13, (7, 11, 17)) / 4)  # Often equal to a cut, which they are not above then.
    logits[0] = -9  # Empty: 0 / 0.
    logits[1] = -9
    logits[1, 10, 16] = 9  # One pixel, in the last corner.
    logits[2] = 9
    logits[3, :, :9] = -9
    logits[4, :6] = -9
    logits[5] = np.float32(-0.5)  # No pixel of the mask, but some above the lower cut.
    check(measure(place(logits), np.arange(7), (11, 17), threshold, offset), logits, threshold, offset)


def test_only_the_chosen_and_only_the_crop_are_looked_at():
    rng = np.random.default_rng(1)
    logits = np.float32(rng.normal(size=(6, 20, 30)))
    for chosen, size in (([4, 1], (20, 30)), ([0, 2, 3, 5], (13, 30)), ([3], (1, 1)), ([5, 5, 0], (20, 22))):
        found = measure(logits, np.array(chosen), size, 0.0, 0.3)
        assert len(found.area) == len(found.masks) == len(chosen)
        check(found, logits[chosen][:, : size[0], : size[1]], 0.0, 0.3)


def test_wide_masks_do_not_overflow():
    logits = np.full((1, 3, 70_000), 2, np.float32)
    found = measure(logits, np.array([0]), (3, 70_000), 0.0, 1.0)
    assert found.area.tolist() == [210_000] and found.stability.tolist() == [1.0]
    assert found.box.tolist() == [[0, 0, 69_999, 2]]
