"""What the cells of a table hold: the scores of every seed, their mean and standard deviation, and differences."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object, spell
from experiments.sweep.results import Result, read_results
from experiments.sweep.variant_state import VARIANT_FILE
from experiments.tables.design import POOL, Column, Row, Score, Table
from experiments.tables.published import published

Runs = Mapping[str, Mapping[int, Result]]  # Name of a setting -> seed -> its run.
RUN = re.compile(r"(.+)_seed(\d+)")
NAN = float("nan")
SEGINW = "seginw.json"


def read_runs(out: str | Path, reasons: Mapping[str, str] = MappingProxyType({})) -> dict[str, dict[int, Result]]:
    """The runs below a folder of tables, by setting and seed.

    Raises:
      InputError: there are none, and no reasons why.
    """
    if not any(Path(out, POOL).glob(f"*/{VARIANT_FILE}")):
        if reasons:
            return {}
        raise InputError(f"{out}: no runs below it; it is no --out of tables, or none was begun")
    found: dict[str, dict[int, Result]] = {}
    for result in read_results(Path(out, POOL)):
        name = RUN.fullmatch(result.name)
        if name:
            found.setdefault(name[1], {})[int(name[2])] = _with_seginw(result, Path(out, POOL, result.name))
    return found


def _with_seginw(result: Result, workdir: Path) -> Result:
    """With the mean mask AP that `experiments.evaluation` printed into seginw.json of a run, where there is that."""
    path = workdir / SEGINW
    if not path.exists():
        return result
    mean = json_object(path, "scores").get("mean_mask_ap")
    if type(mean) not in (int, float) or not 0 <= mean <= 1:
        raise InputError(f"{path}: mean_mask_ap must be a number within 0 and 1, not {spell(mean)}")
    return dataclasses.replace(result, scores=result.scores | {"seginw": {"mask_ap": mean}})


def seed_scores(table: Table, runs: Runs) -> pd.DataFrame:
    """One line per cell and begun run: `row`, `column`, `seed`, `steps`, `state`, and in percent `score` and its
    `difference` to the run of the same seed that the row is compared with; NaN where a score is missing."""
    lines = []
    for row in table.rows:
        for column, score in row.cells.items():
            against = row.against.get(column)
            for seed, run in sorted(runs.get(score.setting.name, {}).items()):
                percent = _percent(score, run)
                base = _percent(against, runs.get(against.setting.name, {}).get(seed)) if against else NAN
                state = "not scored" if run.state == "finished" and pd.isna(percent) else run.state
                lines.append((row.label, column, seed, run.steps, state, percent, percent - base))
    return pd.DataFrame(lines, columns=["row", "column", "seed", "steps", "state", "score", "difference"])


def cells(table: Table, scores: pd.DataFrame) -> pd.DataFrame:
    """One line per cell that has runs or a number of the paper, indexed by (row, column), in percent.

    Args:
      table: which.
      scores: of `seed_scores`.

    Returns:
      mean, standard_deviation, n, missing (runs begun that have no score), difference,
      difference_standard_deviation, a column per seed that some run is scored with, and the_papers.
    """
    names = ["row", "column"]
    pairs = [(row, column) for row in table.rows for column in table.columns]
    theirs = {(row.label, column.label): paper(table, row, column) for row, column in pairs}
    shown = [(r.label, c.label) for r, c in pairs if c.label in r.cells or theirs[r.label, c.label] is not None]
    found = scores.groupby(names).agg(
        mean=("score", "mean"),
        standard_deviation=("score", "std"),
        n=("score", "count"),
        missing=("score", "size"),
        difference=("difference", "mean"),
        difference_standard_deviation=("difference", "std"),
    )
    found["missing"] -= found["n"]
    seeds = scores.dropna(subset="score").pivot(index=names, columns="seed", values="score").add_prefix("seed_")
    found = found.join(seeds).reindex(pd.MultiIndex.from_tuples(shown, names=names))
    found["the_papers"] = [theirs[cell] for cell in shown]
    return found.fillna({"n": 0, "missing": 0}).astype({"n": int, "missing": int, "the_papers": float})


def paper(table: Table, row: Row, column: Column) -> float | None:
    """The paper's number of a cell in percent, None where it has none."""
    place = table.published, row.published, column.published
    return published("mqformer" if table.published.startswith("mq") else "dataseg").get(place)


def _percent(score: Score, run: Result | None) -> float:
    """NaN where a run has no such score; mask AP is also NaN where there is nothing to find."""
    found = run.scores.get(score.dataset, {}).get(score.metric) if run else None
    return NAN if found is None else 100.0 * found
