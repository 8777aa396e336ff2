"""What configs share that take arguments after a colon, as `configs/embedded.py:datasets=panoptic,queries=10`."""

from collections.abc import Sequence


def parse(arguments: str, datasets: Sequence[str], switches: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """(argument -> value, the datasets to train on: all unless some are named).

    Args:
      arguments: `datasets=a+b`, `queries=N` and switches without a value, joined by commas.
      datasets: those that there are.
      switches: the names of the others.

    Raises:
      ValueError: for one that does not exist.
    """
    options = dict(pair.partition("=")[::2] for pair in arguments.split(",") if pair)
    names = options.get("datasets", "+".join(datasets)).split("+")
    known = {"datasets", "queries", *switches}
    if set(options) - known or set(names) - set(datasets) or not options.get("queries", "1").isdecimal():
        *first, last = switches
        raise ValueError(
            f"argument {arguments!r}: it is made of datasets={'+'.join(datasets)} (any of them), queries=N, "
            f"{', '.join(first)} and {last}, joined by commas"
        )
    return options, names
