"""Scores of runs over their seeds: mean and standard deviation, a Markdown table, and a plot with a dot per run.

Scores are a DataFrame with one line per run and cell of a table: `row` and `column` name the cell, `score` is in
percent, NaN where it is missing.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dataseg_jax.io.whole_files import whole_file
from dataseg_jax.results.markup import as_markdown

WIDTH = 36  # Characters of a label's line.
PANELS = 4  # Beside each other.
NARROWEST = 2.0  # Of a panel, in percent.


def over_seeds(scores: pd.DataFrame, value: str = "score") -> pd.DataFrame:
    """`mean`, `std` (n - 1 degrees of freedom, NaN for a single run) and `count` of every cell, in the order given."""
    return scores.groupby(["row", "column"], sort=False)[value].agg(["mean", "std", "count"])


def mean_and_std(mean: float, std: float = float("nan"), form: str = ".1f") -> str:
    """`mean ± std`; the mean alone where the deviation is NaN, "" where the mean is."""
    if pd.isna(mean):
        return ""
    return f"{mean:{form}}" if pd.isna(std) else f"{mean:{form}} ± {std:.1f}"


def in_order(lines: pd.DataFrame, index: str, values: str) -> pd.DataFrame:
    """One row per `index` and one column per `column`, both in the order in which they occur first."""
    wide = lines.pivot(index=index, columns="column", values=values)
    return wide.reindex(index=lines[index].unique(), columns=lines["column"].unique())


def markdown(table: pd.DataFrame) -> str:
    """A table of strings and whole numbers as Markdown; the index is not shown."""
    rows = [" | ".join(as_markdown(str(cell)) for cell in line) for line in [list(table.columns), *table.to_numpy()]]
    return "\n".join([f"| {rows[0]} |", f"|{'---|' * table.shape[1]}", *(f"| {row} |" for row in rows[1:])])


def dot_panels(
    path: Path,
    scores: pd.DataFrame,
    rows: Sequence[str],
    columns: Mapping[str, str],
    title: str = "",
    published: pd.DataFrame | None = None,
) -> bool:
    """Draws a panel per column with a line per row and a dot per run; False, and no file, if there are no scores.

    Args:
      path: of the PNG.
      scores: see above.
      rows: in order, the first on top.
      columns: `column` -> label of its axis, in order.
      title: of the figure.
      published: scores of others, drawn as open diamonds.
    """
    scores = scores.dropna(subset="score")
    if scores.empty:
        return False
    layers = {
        "one seed": (scores, dict(fmt="o", color="C0", alpha=0.5)),
        "mean ± standard deviation over seeds": (
            over_seeds(scores).dropna().reset_index().rename(columns={"mean": "score"}),
            dict(fmt="|", color="black", markersize=14, capsize=4),
        ),
        "the paper": (scores[:0] if published is None else published, dict(fmt="D", color="C1", mfc="none")),
    }
    places, drawn = {row: place for place, row in enumerate(rows)}, {}
    across = min(PANELS, len(columns))
    down = -(-len(columns) // across)
    size = 3.4 + 2.6 * across, 0.9 + down * (1.0 + 0.45 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(down, across, sharey=True, squeeze=False).flat
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    for axis, (column, label) in zip(axes, columns.items(), strict=False):
        for name, (lines, style) in layers.items():
            lines = lines[lines["column"] == column]
            if len(lines):
                drawn[name] = axis.errorbar(lines["score"], lines["row"].map(places), xerr=lines.get("std"), **style)
        axis.set_xlabel(label, parse_math=False)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.margins(x=0.15)
        low, high = axis.get_xlim()
        if high - low < NARROWEST:  # A tiny difference must not look like an effect.
            axis.set_xlim((low + high - NARROWEST) / 2, (low + high + NARROWEST) / 2)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [textwrap.fill(row, WIDTH) for row in rows], parse_math=False)
    figure.suptitle(title, fontsize="medium", parse_math=False)
    figure.legend(handles=list(drawn.values()), labels=list(drawn), loc="outside lower center", ncols=3, frameon=False)
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=150)
    return True
