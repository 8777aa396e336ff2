"""A table as a plot: a panel per column, a line per row, a dot per seed, the number of the paper where it has one."""

import textwrap
from pathlib import Path

from experiments.tables.design import Table
from experiments.tables.values import Pool, value
from experiments.tables.writing import described, paper

WIDTH = 36  # Characters of a label's line.
PANELS = 4  # Beside each other.
NARROWEST = 2.0  # Of a panel, in units of its column.


def write(table: Table, runs: Pool, path: Path) -> bool:
    """Draws the finished runs; False, and nothing is written, where there are none."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    if not any(value(score, runs).seeds for row in table.rows for score in row.cells.values()):
        return False
    lines = -(-len(table.columns) // PANELS)
    figure, axes = pyplot.subplots(
        lines, min(PANELS, len(table.columns)), sharey=True, squeeze=False, layout="constrained",
        figsize=(3.4 + 2.6 * min(PANELS, len(table.columns)), 0.9 + lines * (1.0 + 0.45 * len(table.rows))),
    )  # fmt: skip
    shown = {}
    for axis in axes.flat[len(table.columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, table.columns, strict=False):
        for place, row in enumerate(table.rows):
            score = row.cells.get(column.label)
            got = value(score, runs) if score else None
            if got and got.seeds:
                dots = [100 * v for v in got.seeds.values()]
                shown["one seed"] = axis.plot(dots, [place] * len(dots), "o", color="C0", alpha=0.5)[0]
            if got and got.spread is not None:
                shown["mean ± standard deviation"] = axis.errorbar(
                    100 * got.mean, place, xerr=100 * got.spread, fmt="|", color="black", markersize=14, capsize=4
                )
            theirs = paper(table, row, column)
            if theirs is not None:
                shown["the paper's"] = axis.plot(theirs, place, "D", markerfacecolor="none", color="C1")[0]
        axis.set_xlabel(f"{column.label} ({column.unit}),\n{column.direction}")
        axis.set_ylim(len(table.rows) - 0.5, -0.5)  # The first on top, as in the table.
        axis.margins(x=0.15)
        low, high = axis.get_xlim()
        if high - low < NARROWEST:  # Next to nothing is not to look like an effect.
            axis.set_xlim((low + high - NARROWEST) / 2, (low + high + NARROWEST) / 2)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks(range(len(table.rows)), [textwrap.fill(row.label, WIDTH) for row in table.rows])
    figure.suptitle(f"{table.title}\n{described(table, runs)}", fontsize="medium")
    figure.legend(handles=list(shown.values()), labels=list(shown), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True
