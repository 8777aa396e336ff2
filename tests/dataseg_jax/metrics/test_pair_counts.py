"""Counting of pairs of values over two maps, against one pixel at a time."""

from collections import Counter

import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.metrics.shared import pair_counts


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
