"""A table as Markdown and as CSV, with what is missing marked and the paper's numbers in columns of their own."""

import csv
import io

from experiments.tables import values
from experiments.tables.design import Column, Row, Table
from experiments.tables.published import published
from experiments.tables.values import Pool, Value, difference, value

NOTHING = "–"


def markdown(table: Table, runs: Pool) -> str:
    """One line per row: mean ± standard deviation over seeds, and the difference to the row it is compared with."""
    heads = [""]
    for column in table.columns:
        heads.append(f"{column.label} ({column.unit})")
        if _has_published(table, column):
            heads.append(f"the paper's {column.published} ({column.unit})")
    lines = [f"# {table.title}", "", *_header([*heads, "n"])]
    for row in table.rows:
        cells = [row.label]
        for column in table.columns:
            cells.append(_cell(row, column, runs))
            if _has_published(table, column):
                cells.append(_number(paper(table, row, column)))
        lines.append(_row([*cells, _count([value(score, runs) for score in row.cells.values()])]))
    return "\n".join([*lines, "", *_notes(table, runs)])


def csv_text(table: Table, runs: Pool) -> str:
    """One line a cell with all digits: mean, standard deviation, n, the number of every seed, and the paper's."""
    seeds = values.seeds(table, runs)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = ["mean", "standard_deviation", "n", "missing", "difference", "difference_standard_deviation"]
    heads += [f"seed_{seed}" for seed in seeds]
    writer.writerow(["table", "row", "column", "unit", "direction", *heads, "the_papers"])
    for row in table.rows:
        for column in table.columns:
            score, theirs = row.cells.get(column.label), paper(table, row, column)
            if score is None and theirs is None:
                continue
            got = value(score, runs) if score else Value({}, {})
            apart = _difference(row, column, runs)
            numbers = [got.mean, got.spread, len(got.seeds), len(got.missing), apart.mean, apart.spread]
            numbers += [got.seeds.get(seed) for seed in seeds]
            percent = [100 * n if isinstance(n, float) else "" if n is None else n for n in numbers]
            own = [table.name, row.label, column.label, column.unit, column.direction]
            writer.writerow([*own, *percent, "" if theirs is None else theirs])
    return file.getvalue()


def paper(table: Table, row: Row, column: Column) -> float | None:
    """The paper's number of a cell in percent, None where it has none."""
    return published().get((table.published, row.published, column.published))


def described(table: Table, runs: Pool) -> str:
    """How many seeds and steps."""
    seeds, steps = values.seeds(table, runs), values.steps(table, runs)
    many = (
        f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} ({', '.join(map(str, seeds))})" if seeds else "no seed yet"
    )
    return f"{many}, {steps:,} steps" if steps else many


def _notes(table: Table, runs: Pool) -> list[str]:
    directions = sorted({column.direction for column in table.columns})
    lines = [
        f"{described(table, runs)} of the longest run. Mean ± standard deviation (n - 1) over n seeds, "
        f"{' and '.join(directions)}."
    ]
    if any(row.against for row in table.rows):
        lines.append(
            "In brackets: the difference to what the row is compared with, seed by seed over those that both have."
        )
    if any(_has_published(table, column) for column in table.columns):
        lines.append(f"The paper's numbers are those of Gu et al. (NeurIPS 2023), Table {table.published}, not ours.")
    lines += table.notes
    missing = {}
    for setting in table.settings():
        known = runs.get(setting.name)
        if known is None:
            missing[setting.name] = "not begun"
        for result in (known or {}).values():
            if result.state != "finished":
                missing[result.name] = result.state + (f": {result.note}" if result.note else "")
    if missing:
        lines.append("Missing: " + "; ".join(f"{name} ({why})" for name, why in missing.items()) + ".")
    return [line for note in lines for line in (note, "")][:-1]


def _cell(row: Row, column: Column, runs: Pool) -> str:
    score = row.cells.get(column.label)
    if score is None:
        return ""
    got = value(score, runs)
    if got.mean is None:
        return next(iter(got.missing.values()), NOTHING)
    text, apart = _number(100 * got.mean) + _spread(got), _difference(row, column, runs)
    return text if apart.mean is None else f"{text} ({100 * apart.mean:+.1f}{_spread(apart)})"


def _spread(got: Value) -> str:
    return "" if got.spread is None else f" ± {100 * got.spread:.1f}"


def _difference(row: Row, column: Column, runs: Pool) -> Value:
    score, against = row.cells.get(column.label), row.against.get(column.label)
    return difference(score, against, runs) if score and against else Value({}, {})


def _count(cells: list[Value]) -> str:
    if not cells:
        return ""
    counts = sorted({len(cell.seeds) for cell in cells})
    begun = max(len(cell.seeds) + len(cell.missing) for cell in cells)
    text = "–".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return text if counts == [begun] else f"{text} of {begun}"


def _has_published(table: Table, column: Column) -> bool:
    return any(paper(table, row, column) is not None for row in table.rows)


def _number(percent: float | None) -> str:
    return NOTHING if percent is None else f"{percent:.1f}"


def _header(heads: list[str]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads)).replace(" ", "")]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
