"""The results of a sweep as Markdown, CSV and a plot: one row per variant, then means over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from experiments.runtime.telemetry import clock
from experiments.sweep import seeds
from experiments.sweep.results import HEADLINES, Result

SEED = "seed"


def headline_scores(results: Sequence[Result]) -> pd.DataFrame:
    """Scores as `seeds` takes them: a row is a setting, whose variants differ in nothing but their seed."""
    lines = [
        (r.name, _setting(r), f"{dataset} {HEADLINES[metric]}", 100 * score)
        for r in results
        for (dataset, metric), score in r.headlines.items()
    ]
    return pd.DataFrame(lines, columns=["variant", "row", "column", "score"])


def markdown(results: Sequence[Result]) -> str:
    """A table of all variants in percent, and one of means if several variants differ in nothing but their seed."""
    names = [r.name for r in results]
    scores = headline_scores(results)
    states = {
        "steps": [r.steps for r in results],
        "time": [clock(r.seconds) if r.seconds else "" for r in results],
        "state": [f"{r.state}: {r.note}" if r.note else r.state for r in results],
    }
    percent = seeds.in_order(scores, "variant", "score").reindex(names).map(seeds.mean_and_std)
    text = seeds.markdown(pd.concat([_fields(results), percent, pd.DataFrame(states, index=names)], axis=1))
    summary = seeds.over_seeds(scores).reset_index()
    if not (summary["count"] > 1).any():
        return f"{text}\n\nPercent."
    summary["text"] = [seeds.mean_and_std(mean, std) for mean, std in zip(summary["mean"], summary["std"], strict=True)]
    means = seeds.in_order(summary, "row", "text").fillna("")
    means.insert(0, "seeds", scores.groupby("row")["variant"].nunique())
    first = {_setting(r): r for r in reversed(results)}
    fields = _fields([first[row] for row in means.index]).drop(columns=["variant", SEED], errors="ignore")
    fields = fields.loc[:, (fields != "").any()].set_axis(means.index)
    return f"{text}\n\n{seeds.markdown(pd.concat([fields, means], axis=1))}\n\n" + (
        "Percent; mean ± standard deviation over seeds."
    )


def csv_text(results: Sequence[Result]) -> str:
    """The table of all variants with all digits, scores as fractions; every metric is a column, not headlines only."""
    names = [r.name for r in results]
    metrics = [{f"{dataset}/{metric}": v for dataset, metric, v in _numbers(r.scores)} for r in results]
    states = {
        "steps": [r.steps for r in results],
        "seconds": [round(r.seconds, 1) for r in results],
        "state": [r.state for r in results],
    }
    parts = [
        _fields(results, "config."), pd.DataFrame(metrics, index=names, dtype=object), pd.DataFrame(states, index=names)
    ]  # fmt: skip
    return pd.concat(parts, axis=1).to_csv(index=False, lineterminator="\n")


def plot(results: Sequence[Result], path: Path) -> bool:
    """Draws the finished variants; False, and no file, if there are none."""
    scores = headline_scores(results)
    labels = {column: f"{column} (%)" for column in scores["column"]}
    return seeds.dot_panels(path, scores, list(scores["row"].unique()), labels)


def _fields(results: Sequence[Result], prefix: str = "") -> pd.DataFrame:
    """Name and overrides of each, as text."""
    names = [r.name for r in results]
    fields = dict.fromkeys(field for r in results for field in r.overrides)
    values = {prefix + field: [str(r.overrides.get(field, "")) for r in results] for field in fields}
    return pd.concat([pd.Series(names, names, name="variant"), pd.DataFrame(values, index=names)], axis=1)


def _setting(result: Result) -> str:
    overrides = {field: value for field, value in sorted(result.overrides.items()) if field != SEED}
    return ", ".join(f"{field}={value}" for field, value in overrides.items()) or "the config as it is"


def _numbers(scores: Mapping[str, Mapping]) -> list[tuple[str, str, float]]:
    return [
        (dataset, metric, value)
        for dataset, metrics in scores.items()
        for metric, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
