"""A table as Markdown, CSV and a plot, with missing scores marked and the paper's numbers in separate columns."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from dataseg_jax.results.markup import as_markdown
from experiments.sweep import seeds
from experiments.sweep.seeds import mean_and_std
from experiments.tables.cells import Runs, cells, paper, seed_scores
from experiments.tables.design import Column, Row, Table

NOTHING = "–"


def markdown(table: Table, runs: Runs, reasons: Mapping[str, str] = MappingProxyType({})) -> str:
    """One line per row: mean ± standard deviation over seeds, and the difference to the row it is compared with.

    Args:
      reasons: setting -> why it cannot be run, where that is so.
    """
    scores = seed_scores(table, runs)
    found = cells(table, scores)
    missing = scores[scores["score"].isna()].groupby(["row", "column"])["state"].first()
    shown = {"": [row.label for row in table.rows]}
    for column in table.columns:
        texts = [_text(found, missing, row, column) for row in table.rows]
        shown[f"{column.label} ({column.unit})"] = texts
        if _has_published(table, column):
            theirs = [mean_and_std(found["the_papers"].get((row.label, column.label))) for row in table.rows]
            shown[f"the paper's {column.published} ({column.unit})"] = [text or NOTHING for text in theirs]
    shown["n"] = [_count(found.loc[[(row.label, column) for column in row.cells]]) for row in table.rows]
    notes = _notes(table, runs, scores, reasons)
    return "\n".join([f"# {table.title}", "", seeds.markdown(pd.DataFrame(shown)), "", *notes])


def csv_text(table: Table, runs: Runs) -> str:
    """One line per cell with all digits: mean, standard deviation, n, the number of every seed, and the paper's."""
    found = cells(table, seed_scores(table, runs)).reset_index()
    columns = {column.label: column for column in table.columns}
    found.insert(0, "table", table.name)
    found.insert(3, "unit", [columns[label].unit for label in found["column"]])
    found.insert(4, "direction", [columns[label].direction for label in found["column"]])
    return found.to_csv(index=False, lineterminator="\n")


def plot(table: Table, runs: Runs, path: Path) -> bool:
    """Draws the finished runs; False, and no file, if there are none."""
    scores = seed_scores(table, runs)
    theirs = cells(table, scores)["the_papers"].dropna().rename("score").reset_index()
    axes = {c.label: f"{c.label} ({c.unit}),\n{c.direction}" for c in table.columns}
    title = f"{table.title}\n{_seeds_and_steps(scores)}"
    return seeds.dot_panels(path, scores, [row.label for row in table.rows], axes, title, theirs)


def _text(found: pd.DataFrame, missing: pd.Series, row: Row, column: Column) -> str:
    place = row.label, column.label
    if column.label not in row.cells:
        return ""
    cell = found.loc[place]
    if not cell["n"]:
        return missing.get(place, NOTHING)
    text = mean_and_std(cell["mean"], cell["standard_deviation"])
    difference = mean_and_std(cell["difference"], cell["difference_standard_deviation"], "+.1f")
    return f"{text} ({difference})" if difference else text


def _count(of_row: pd.DataFrame) -> str:
    """How many seeds the cells of a row have, and of how many that were begun."""
    if of_row.empty:
        return ""
    counts, begun = sorted(set(of_row["n"])), (of_row["n"] + of_row["missing"]).max()
    text = "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return text if counts == [begun] else f"{text} of {begun}"


def _has_published(table: Table, column: Column) -> bool:
    return any(paper(table, row, column) is not None for row in table.rows)


def _seeds_and_steps(scores: pd.DataFrame) -> str:
    found = sorted(scores.dropna(subset="score")["seed"].unique())
    text = f"{len(found)} seed{'' if len(found) == 1 else 's'} ({', '.join(map(str, found))})"
    steps = 0 if scores.empty else scores["steps"].max()
    return (text if found else "no finished run yet") + (f", up to {steps:,} steps" if steps else "")


def _notes(table: Table, runs: Runs, scores: pd.DataFrame, reasons: Mapping[str, str]) -> list[str]:
    directions = sorted({column.direction for column in table.columns})
    lines = [
        f"{_seeds_and_steps(scores).capitalize()}. Mean ± standard deviation (n - 1) over n seeds, "
        f"{' and '.join(directions)}."
    ]
    if any(row.against for row in table.rows):
        lines.append("In brackets: the difference to the row that it is compared with, paired by seed.")
    if any(_has_published(table, column) for column in table.columns):
        lines.append(
            f"The paper's numbers are those of {table.paper}, Table {table.published.removeprefix('mq')}, not of these "
            "runs."
        )
    lines += table.notes
    missing = {}
    for setting in table.settings():
        known = runs.get(setting.name)
        if known is None:
            missing[setting.name] = reasons.get(setting.name, "not begun")
        for result in (known or {}).values():
            if result.state != "finished":
                missing[result.name] = result.state + (f": {result.note}" if result.note else "")
    if missing:
        lines.append("Missing: " + "; ".join(as_markdown(f"{name} ({why})") for name, why in missing.items()) + ".")
    return [line for note in lines for line in (note, "")][:-1]
