"""What the metrics share: counting pairs of values over two maps, and one key per class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError

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
            f"{second.shape[1]} (height x width); both must have the size of the image"
        )
    first, second = first.ravel(), second.ravel()
    # Maps consist of runs along the rows, and there are ten times fewer runs than pixels to count.
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
    span = (high - low + 1) * width  # At most 2^64.
    codes = (first - low).view(np.uint64) * width + (second - low_second).view(np.uint64)
    codes, counts = _sums(codes, lengths, span)
    return (codes // width).astype(np.int64) + low, (codes % width).astype(np.int64) + low_second, counts


def _sums(codes: np.ndarray, lengths: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray]:
    """Each code below `span` that occurs, and int64 the sum of its lengths."""
    if span <= _TABLE:  # Categories: a table of all pairs needs no sorting, however many the runs.
        table = np.bincount(codes.view(np.int64), weights=lengths).astype(np.int64)
        present = np.flatnonzero(table)
        return present, table[present]
    bits = int(lengths.max()).bit_length()
    if (
        span << bits <= 1 << 64
    ):  # Sorting numbers is several times faster than argsort, so lengths are packed into them.
        codes = np.sort((codes << bits) | lengths.view(np.uint64))
        codes, lengths = codes >> bits, (codes & ((1 << bits) - 1)).view(np.int64)
    else:
        order = np.argsort(codes)
        codes, lengths = codes[order], lengths[order]
    firsts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1]))
    return codes[firsts], np.add.reduceat(lengths, firsts)


def class_keys(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """One key per class for results by class: its name, with its index where a name occurs more than once.

    Raises:
      InputError: there are not `count` names.
    """
    if names is None:
        return tuple(str(k) for k in range(count))
    if len(names) != count:
        raise InputError(f"{len(names)} names were given for {count} categories")
    uses = Counter(names)
    return tuple(name if uses[name] == 1 else f"{name} ({k})" for k, name in enumerate(names))
