"""What the metrics share: counting pairs of values over two maps, and one key for every class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError

_LOW = 0xFFFFFFFF  # A pair of 32-bit values travels as one 64-bit code: the first above, the second below.
_SIGN = 0x80000000
_TABLE = 1 << 18  # Entries of the largest table of pairs: 2 MB, which a core's cache holds. 500 x 500 categories fit.


def pair_counts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts how often each pair of values stands at the same pixel of two maps.

    Args:
      first: int[H, W], values within 32 bits.
      second: int[H, W].

    Returns:
      int64[n] values of the first map, int64[n] of the second, int64[n] number of pixels; each pair once.

    Raises:
      InputError: the maps are not integer maps of one size.
    """
    first, second = np.asarray(first), np.asarray(second)
    for values in (first, second):
        if values.ndim != 2 or values.size == 0 or not np.issubdtype(values.dtype, np.integer):
            raise InputError(f"a map is {values.dtype}{list(values.shape)}; it must be integers [height, width]")
    if first.shape != second.shape:
        raise InputError(
            f"the ground truth is {first.shape[0]}x{first.shape[1]} and the prediction {second.shape[0]}x"
            f"{second.shape[1]} (height x width); both must have the size of the picture"
        )
    first, second = first.ravel(), second.ravel()
    # Maps are made of runs along the rows, and counting runs instead of pixels is an order of magnitude less.
    starts_run = np.empty(first.size, bool)
    starts_run[0] = True
    np.not_equal(first[1:], first[:-1], out=starts_run[1:])
    starts_run[1:] |= second[1:] != second[:-1]
    starts = np.flatnonzero(starts_run)
    lengths = np.empty_like(starts)
    np.subtract(starts[1:], starts[:-1], out=lengths[:-1])
    lengths[-1] = first.size - starts[-1]
    first, second = first[starts].astype(np.int64), second[starts].astype(np.int64)
    (low, high), (low_second, high_second) = ((int(values.min()), int(values.max())) for values in (first, second))
    if min(low, low_second) < -_SIGN or max(high, high_second) >= _SIGN:
        worst = (low, high) if low < -_SIGN or high >= _SIGN else (low_second, high_second)
        raise InputError(f"a map has values {worst[0]} to {worst[1]}; they must fit 32 bits")
    width = high_second - low_second + 1
    if (high - low + 1) * width <= _TABLE:  # Categories: a table of all pairs needs no sorting, however many the runs.
        table = np.bincount((first - low) * width + (second - low_second), weights=lengths)
        pairs = np.flatnonzero(table)
        return pairs // width + low, pairs % width + low_second, table[pairs].astype(np.int64)
    codes, run_to_pair = np.unique((first << 32) | (second & _LOW), return_inverse=True)
    counts = np.bincount(run_to_pair, weights=lengths).astype(np.int64)
    return codes >> 32, ((codes & _LOW) ^ _SIGN) - _SIGN, counts


def class_keys(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """One key a class for results by class: its name, with its index where a name stands more than once.

    Raises:
      InputError: there are not `count` names.
    """
    if names is None:
        return tuple(str(k) for k in range(count))
    if len(names) != count:
        raise InputError(f"{len(names)} names were given for {count} categories")
    uses = Counter(names)
    return tuple(name if uses[name] == 1 else f"{name} ({k})" for k, name in enumerate(names))
