"""How far the runs of some tables are, and how long the rest will take."""

from collections.abc import Sequence

import numpy as np

from experiments.runtime.telemetry import LOSSES, clock
from experiments.sweep import attempt
from experiments.sweep.variant_state import Variant, finished


def told(variants: Sequence[Variant], parallel: int = 1) -> str:
    """One line: runs and steps that are done of all, and the time left if the rest goes on as what was done."""
    done = [_done(variant) for variant in variants]
    total = [variant.config["steps"] for variant in variants]
    seconds = [attempt.seconds(variant.workdir) for variant in variants]
    ready = [finished(variant.workdir) for variant in variants]
    line = f"{sum(ready)} of {len(variants)} runs finished, {sum(done):,} of {sum(total):,} steps"
    if all(ready) or not sum(done):
        return line
    start, step = pace([(n, s) for n, s, is_ready in zip(total, seconds, ready, strict=True) if is_ready])
    if not step:  # Too few to tell the two apart.
        start, step = 0.0, sum(seconds) / sum(done)
    left = sum(
        max(start + step * n - s, 0.0) for n, s, is_ready in zip(total, seconds, ready, strict=True) if not is_ready
    )
    return f"{line}, about {clock(left / parallel)} left"


def pace(runs: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(seconds of a start and an end, seconds of a step) that explain (steps, seconds) of finished runs best; zeros
    where they do not tell."""
    steps, seconds = np.array(runs, float).reshape(-1, 2).T
    if len(set(steps)) < 2:
        return 0.0, 0.0
    step, start = np.polyfit(steps, seconds, 1)
    return (float(start), float(step)) if start >= 0 and step > 0 else (0.0, 0.0)


def _done(variant: Variant) -> int:
    if finished(variant.workdir):
        return variant.config["steps"]
    try:
        with (variant.workdir / LOSSES).open("rb") as file:
            return min(max(sum(1 for _ in file) - 1, 0), variant.config["steps"])
    except FileNotFoundError:
        return 0
