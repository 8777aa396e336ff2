"""What the cells of a table hold: scores of the runs that are finished, their mean and spread over seeds."""

import dataclasses
import math
import re
import statistics
from collections.abc import Mapping
from pathlib import Path

from dataseg_jax.errors import InputError
from experiments.sweep.results import Result, gather
from experiments.sweep.variant_state import RECORD
from experiments.tables.design import Score, Table
from experiments.tables.runs import POOL

Pool = Mapping[str, Mapping[int, Result]]  # Name of a setting -> seed -> its run.
RUN = re.compile(r"(.+)_seed(\d+)")


@dataclasses.dataclass(frozen=True)
class Value:
    """One cell, or the difference of two.

    Attributes:
      seeds: seed -> score as a fraction, of the finished runs.
      missing: seed -> why a run that was begun has none: waiting, running, stopped, or not scored.
    """

    seeds: Mapping[int, float]
    missing: Mapping[int, str]

    @property
    def mean(self) -> float | None:
        """None where no run is finished."""
        return statistics.fmean(self.seeds.values()) if self.seeds else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds with n - 1 degrees of freedom; None for fewer than two."""
        return statistics.stdev(self.seeds.values()) if len(self.seeds) > 1 else None


def pool(out: str | Path) -> dict[str, dict[int, Result]]:
    """The runs below a folder of tables, by setting and seed.

    Raises:
      InputError: there are none.
    """
    if not any(Path(out, POOL).glob(f"*/{RECORD}")):
        raise InputError(f"{out}: no runs below it; it is no --out of tables, or none was begun")
    found: dict[str, dict[int, Result]] = {}
    for result in gather(Path(out, POOL)):
        name = RUN.fullmatch(result.name)
        if name:
            found.setdefault(name[1], {})[int(name[2])] = result
    return found


def value(score: Score, runs: Pool) -> Value:
    """The score of every seed that there is."""
    seeds, missing = {}, {}
    for seed, result in sorted(runs.get(score.setting.name, {}).items()):
        got = result.scores.get(score.dataset, {}).get(score.metric)
        if result.state != "finished":
            missing[seed] = result.state
        elif got is None or math.isnan(got):  # Mask AP is NaN where there is nothing to find.
            missing[seed] = "not scored"
        else:
            seeds[seed] = float(got)
    return Value(seeds, missing)


def difference(score: Score, against: Score, runs: Pool) -> Value:
    """The difference of every seed that both have."""
    one, other = value(score, runs).seeds, value(against, runs).seeds
    return Value({seed: one[seed] - other[seed] for seed in one if seed in other}, {})


def steps(table: Table, runs: Pool) -> int:
    """Of the longest run of a table, 0 if none is begun."""
    return max((r.steps for s in table.settings() for r in runs.get(s.name, {}).values()), default=0)


def seeds(table: Table, runs: Pool) -> list[int]:
    """All seeds that some finished run of a table has."""
    cells = [score for row in table.rows for score in row.cells.values()]
    return sorted({seed for score in cells for seed in value(score, runs).seeds})
