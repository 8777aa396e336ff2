"""Which images are read in place of one that cannot be read."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from data.source import Source
from dataseg_jax.errors import InputError

SUBSTITUTES = 8  # ours: images tried in place of one that cannot be read. More in a row: the disk is gone.


@dataclasses.dataclass(frozen=True)
class Failure:
    """An image that could not be read: its dataset, its index in the source, and a line that names the file."""

    dataset: str
    index: int
    reason: str


def substitutes(index: int, length: int) -> list[int]:
    """Which images of a dataset of `length` may replace image `index`, in the order in which they are tried.

    A function of the two numbers alone, so that all hosts, workers and restarts agree. The golden section leads away
    from files of neighbouring numbers, which tend to be damaged together.
    """
    stride = round(length * (math.sqrt(5) - 1) / 2) or 1
    while math.gcd(stride, length) > 1:  # So that no image comes twice.
        stride += 1
    return [(index + place * stride) % length for place in range(1, min(SUBSTITUTES, length - 1) + 1)]


def first_readable(source: Source, index: int, failures: list[Failure], read: Callable[[int], Any]) -> Any:
    """What `read` gives for image `index`, or for the first of its substitutes that can be read.

    What could not be read is added to `failures`.

    Raises:
      InputError: none can be read.
    """
    others = substitutes(index, len(source))
    for candidate in (index, *others):
        try:
            return read(candidate)
        except InputError as error:  # Other errors are bugs, not damaged images.
            failures.append(Failure(source.name, candidate, str(error)))
    reason = failures[-1 - len(others)].reason
    raise InputError(f"{reason}; {len(others)} images tried in its place fail as well" if others else reason)
