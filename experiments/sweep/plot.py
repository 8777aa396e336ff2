"""The results of a sweep as an image: a panel per dataset, a line a setting, a dot per seed."""

import json
from collections.abc import Sequence
from pathlib import Path

from experiments.sweep.gather import HEADLINES, Result, over_seeds


def write(results: Sequence[Result], path: Path) -> bool:
    """Draws the finished variants; False, and nothing is written, where there are none."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    done = [result for result in results if result.state == "finished" and result.headlines]
    if not done:
        return False
    summaries = over_seeds(done)
    columns = list(dict.fromkeys(key for result in done for key in result.headlines))
    places = {_key(summary.overrides): place for place, summary in enumerate(summaries)}
    figure, axes = pyplot.subplots(
        1,
        len(columns),
        figsize=(2.4 + 3.2 * len(columns), 1.7 + 0.45 * len(summaries)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, column in zip(axes[0], columns, strict=True):
        for result in done:
            if column in result.headlines:
                place = places[_key({k: v for k, v in result.overrides.items() if k != "seed"})]
                dots = axis.plot(100 * result.headlines[column], place, "o", color="C0", alpha=0.5, label="one run")[0]
        bars = None
        for place, summary in enumerate(summaries):
            if summary.spread.get(column) is not None:
                mean, spread = 100 * summary.mean[column], 100 * summary.spread[column]
                bars = axis.errorbar(
                    mean, place, xerr=spread, fmt="|", color="black", markersize=14, capsize=4,
                    label="mean ± standard deviation over seeds",
                )  # fmt: skip
        axis.set_title(column[0])
        axis.set_xlabel(f"{HEADLINES[column[1]]} (%)")
        axis.set_ylim(len(summaries) - 0.5, -0.5)  # The first on top, as in the table.
        axis.margins(x=0.15)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("setting")
    axes[0, 0].set_yticks(range(len(summaries)), [_label(summary.overrides) for summary in summaries])
    if bars:
        figure.legend(handles=[dots, bars], loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    return True


def _key(overrides: dict) -> str:
    return json.dumps(overrides, sort_keys=True)


def _label(overrides: dict) -> str:
    return "\n".join(f"{key}={value}" for key, value in overrides.items()) or "the config as it is"
