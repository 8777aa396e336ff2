"""The results of a sweep as Markdown and CSV: one row per variant, then means over seeds."""

import csv
import io
from collections.abc import Sequence

from experiments.runtime.telemetry import clock
from experiments.sweep.gather import HEADLINES, Result, over_seeds


def markdown(results: Sequence[Result]) -> str:
    """A table of all variants in percent, and one of means where variants differ in nothing but their seed."""
    fields, columns = _fields(results), _columns(results)
    heads = [f"{dataset} {HEADLINES[metric]}" for dataset, metric in columns]
    lines = _header(["variant", *fields, *heads, "steps", "time", "state"])
    for r in results:
        values = [_cell(r.overrides.get(field, "")) for field in fields]
        scores = [_percent(r.headlines.get(column)) for column in columns]
        state = f"{r.state}: {_cell(r.note)}" if r.note else r.state
        lines.append(_row([r.name, *values, *scores, str(r.steps), clock(r.seconds) if r.seconds else "", state]))
    summaries = over_seeds(results)
    if any(summary.runs > 1 for summary in summaries):
        fields = [field for field in fields if any(field in summary.overrides for summary in summaries)]
        lines += ["", *_header([*fields, "seeds", *heads])]
        for s in summaries:
            scores = [_percent(s.mean.get(column), s.spread.get(column)) for column in columns]
            lines.append(_row([*(_cell(s.overrides.get(field, "")) for field in fields), str(s.runs), *scores]))
        lines += ["", "Percent; mean ± standard deviation over seeds."]
    else:
        lines += ["", "Percent."]
    return "\n".join(lines)


def csv_text(results: Sequence[Result]) -> str:
    """The table of all variants with all digits, scores as fractions; every metric is a column, not headlines only."""
    fields = _fields(results)
    metrics = list(
        dict.fromkeys((d, m) for r in results for d, s in r.scores.items() for m, v in s.items() if _is_number(v))
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    heads = [f"{dataset}/{metric}" for dataset, metric in metrics]
    writer.writerow(["variant", *(f"config.{field}" for field in fields), *heads, "steps", "seconds", "state"])
    for r in results:
        scores = [r.scores.get(dataset, {}).get(metric, "") for dataset, metric in metrics]
        values = [r.overrides.get(field, "") for field in fields]
        writer.writerow([r.name, *values, *scores, r.steps, round(r.seconds, 1), r.state])
    return file.getvalue()


def _fields(results):
    return list(dict.fromkeys(key for result in results for key in result.overrides))


def _columns(results):
    return list(dict.fromkeys(key for result in results for key in result.headlines))


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _percent(mean, spread=None) -> str:
    if mean is None:
        return ""
    return f"{100 * mean:.1f}" if spread is None else f"{100 * mean:.1f} ± {100 * spread:.1f}"


def _cell(value) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _header(heads: list[str]) -> list[str]:
    return [_row(heads), _row(["---"] * len(heads)).replace(" ", "")]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
