"""What the metrics share: counting pairs of values over two maps, and one key for every class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError

_LOW = 0xFFFFFFFF  # A pair of 32-bit values travels as one 64-bit code: the first above, the second below.
_SIGN = 0x80000000


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
    # Maps are made of runs along the rows, and sorting the runs instead of the pixels is an order of magnitude less.
    starts_run = np.ones(first.size, bool)
    starts_run[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.flatnonzero(starts_run)
    lengths = np.diff(starts, append=first.size)
    first, second = first[starts].astype(np.int64), second[starts].astype(np.int64)
    for values in (first, second):
        if values.min() < -_SIGN or values.max() >= _SIGN:
            raise InputError(f"a map has values {values.min()} to {values.max()}; they must fit 32 bits")
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
