"""Outlines, filled again by pycocotools; the number of parts by SciPy."""

import numpy as np
import pytest
from pycocotools import mask as run_lengths
from scipy import ndimage

from dataseg_jax.results.exchange.outline import outlines

RNG = np.random.default_rng(0)


def filled(parts, size):
    mask = np.zeros(size, bool)
    for corners in parts:
        codes = run_lengths.frPyObjects([corners.astype(float).ravel().tolist()], *size)
        mask |= run_lengths.decode(codes[0]).astype(bool)
    return mask


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_exact_outlines_are_the_mask_without_its_holes(share):
    mask = np.kron(RNG.random((12, 9)) < share, np.ones((3, 4))).astype(bool)
    parts = outlines(mask, tolerance=0)
    np.testing.assert_array_equal(filled(parts, mask.shape), ndimage.binary_fill_holes(mask, np.ones((3, 3))) | mask)
    labelled, count = ndimage.label(mask)  # Of 4 neighbours.
    assert len(parts) == count
    enclosed = [ndimage.binary_fill_holes(labelled == n + 1, np.ones((3, 3))).sum() for n in range(count)]
    assert [filled([part], mask.shape).sum() for part in parts] == sorted(enclosed, reverse=True)


def test_a_tolerance_moves_an_outline_by_no_more():
    y, x = np.mgrid[:200, :300] + 0.5
    disc = (x - 150) ** 2 + (y - 90) ** 2 < 80**2
    (exact,), (simple,) = outlines(disc, 0), outlines(disc, 1.0)
    assert len(simple) < 80 < 200 < len(exact)
    wrong = filled([simple], disc.shape) != disc
    assert wrong.sum() < 0.02 * disc.sum() and not ndimage.binary_erosion(wrong, np.ones((5, 5))).any()


def test_what_is_thin_or_nothing():
    mask = np.zeros((5, 6), bool)
    assert outlines(mask) == []
    mask[2, 3] = True
    (corners,) = outlines(mask)
    assert sorted(map(tuple, corners.tolist())) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    assert outlines(np.ones((5, 6), bool))[0].tolist() == [[0, 0], [6, 0], [6, 5], [0, 5]]
