"""How far the runs of some tables are, and how long the rest will take."""

from collections.abc import Sequence

from experiments.sweep import attempt
from experiments.sweep.records import Variant, finished
from experiments.telemetry import clock

LOSSES = "losses.csv"  # A line a step, under a heading.


def told(variants: Sequence[Variant], parallel: int = 1) -> str:
    """One line: runs and steps that are done of all, and the time left if the rest goes on as what was done."""
    done = [_done(variant) for variant in variants]
    total = [variant.config["steps"] for variant in variants]
    ready = sum(finished(variant.workdir) for variant in variants)
    spent = sum(attempt.seconds(variant.workdir) for variant in variants)
    line = f"{ready} of {len(variants)} runs finished, {sum(done):,} of {sum(total):,} steps"
    if not sum(done) or ready == len(variants):
        return line
    left = (sum(total) - sum(done)) * spent / sum(done) / parallel
    return f"{line}, about {clock(left)} left"


def _done(variant: Variant) -> int:
    if finished(variant.workdir):
        return variant.config["steps"]
    try:
        with (variant.workdir / LOSSES).open("rb") as file:
            return min(max(sum(1 for _ in file) - 1, 0), variant.config["steps"])
    except FileNotFoundError:
        return 0
