"""Value lists of a `sweep()`, as `configs/quickstart.py` uses them. Not run by itself.

    def sweep():
        for model in paired({"model.mask_decoder.queries": (50, 100), "model.mask_decoder.layers": (6, 9)}):
            for others in grid({"matcher": ("hungarian", "sinkhorn"), "seed": range(3)}):
                yield model | others

Every dict is a variant: field of the config -> value, and `name` if the fields do not name it well.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping


def grid(values: Mapping[str, Iterable]) -> Iterator[dict]:
    """Every combination; the last field varies fastest."""
    for combination in itertools.product(*values.values()):
        yield dict(zip(values, combination, strict=True))


def paired(values: Mapping[str, Iterable]) -> Iterator[dict]:
    """The first values of all fields together, then the second ones, ...; ValueError if one list is shorter."""
    for together in zip(*values.values(), strict=True):
        yield dict(zip(values, together, strict=True))
