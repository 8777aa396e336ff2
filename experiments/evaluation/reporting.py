"""The files that an evaluation writes to the run's folder: scores as Markdown and JSON, overlays, and the report."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from clu import parameter_overview

from dataseg_jax.io.image_files import write_image
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results.markup import as_markdown
from dataseg_jax.training.optim import ParameterRow
from experiments.evaluation.dataset_result import DatasetResult
from experiments.evaluation.report import COUNTS, METRIC_NAMES, DatasetReport, page
from experiments.evaluation.report.overlays import sheet
from experiments.runtime.settings import Settings
from experiments.runtime.telemetry import score_history

# Task -> the metrics of its table, the headline first.
METRICS = {
    "panoptic": ("pq", "pq_things", "pq_stuff", "sq", "rq", "upper_bound_pq", "nearest_name_accuracy"),
    "semantic": (
        "miou", "pixel_accuracy", "colour_classifier_miou", "majority_class_miou", "upper_bound_miou",
        "nearest_name_accuracy",
    ),
    "instance": ("mask_ap", "mask_ap50", "box_ap", "box_ap50", "nearest_name_accuracy"),
    "foreground": ("s_measure", "f_measure", "e_measure", "weighted_f_measure", "mae", "mean_mask_mae", "contrast_mae"),
    "referring": (
        "miou", "oiou", "p50", "first_miou", "first_oiou", "absent_empty", "largest_object_miou", "class_only_miou",
    ),
    "prompts": (
        "miou_1", "miou_1_oracle", "miou_3", "miou_5", "noc_90", "failed_90", "iou_rank_correlation",
        "iou_rank_correlation_1", "named_right", "named_right_oracle", "named_most_frequent", "miou_box",
        "box_fill_miou", "grabcut_miou",
    ),
    "video": (
        "jf", "j", "f", "copied_mask_jf", "flow_mask_jf", "no_memory_jf", "image_model_jf", "presence_accuracy",
        "constant_presence_accuracy", "absent_found", "present_found",
        *(f"{protocol}_jf_{n}" for protocol in ("offline", "online") for n in range(1, 9)),
    ),
}  # fmt: skip


def write_report(workdir: Path, step: int, results: Sequence[DatasetResult], settings: Settings) -> None:
    """Prints the table; writes results.md, results.json, report.html and one sheet of overlays per dataset."""
    text = score_table(results, settings)
    scores = {result.dataset.name: result.scores for result in results}
    files = {
        "results.md": text + "\n",
        "report.html": _page(workdir, step, results, settings),
        # Last: a sweep takes it for the sign that a run is scored.
        "results.json": json.dumps({"step": step, "scores": scores}, indent=1) + "\n",
    }
    sheets = {workdir / "overlays" / f"{result.dataset.name}.png": result.rows for result in results if result.rows}
    for path, rows in sheets.items():
        path.parent.mkdir(exist_ok=True)
        write_image(path, sheet(rows))
    for name, content in files.items():
        write_whole(workdir / name, content)
    written = [*(workdir / name for name in files), *sheets]
    print(f"\nresults at step {step}\n\n{text}\n", flush=True)
    print(f"written: {', '.join(map(str, written))}", flush=True)


def score_table(results: Sequence[DatasetResult], settings: Settings) -> str:
    """A Markdown table with one row per dataset and metric; below it the thresholds and the nearest words."""
    lines = ["| dataset | trained on | images | metric | score |", "|---|---|---|---|---|"]
    for result in results:
        names = (as_markdown(text) for text in (result.dataset.name, result.supervision))
        row = f"| {' | '.join(names)} | {len(result.dataset.source)} |"
        lines += [f"{row} {metric} | {value} |" for metric, value in _named_scores(result)]
    common = settings.eval.score_threshold, settings.eval.overlap_threshold
    note = "Percent, counts apart, on held-out images unless a config says otherwise."
    lines += ["", f"{note} PQ: score > {common[0]}, overlap >= {common[1]}{_other_thresholds(results, common)}."]
    for result in results:
        if result.words:
            name, words = as_markdown(result.dataset.name), as_markdown(_nearest(result.words))
            lines.append(f"{name}, the word nearest to each trained name: {words}.")
    return "\n".join(lines)


def parameter_table(rows: list[ParameterRow]) -> str:
    """One line per parameter, and the total."""

    def cell(value) -> str:
        if isinstance(value, tuple):
            return "x".join(map(str, value)) or "scalar"
        return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

    total = sum(row.size for row in rows)
    return f"{parameter_overview.make_table(rows, value_formatter=cell)}\ntotal: {total:,}\n"


def _page(workdir: Path, step: int, results: Sequence[DatasetResult], settings: Settings) -> str:
    model = settings.model
    facts = (
        ("step", f"{step:,}"),
        ("backbone", model.backbone["name"]),
        ("queries", str(model.mask_decoder.get("queries", "prompts alone"))),
        ("input", f"{settings.scored_image_size} x {settings.scored_image_size}"),
        ("text space", settings.text_space),
    )
    return page(f"Evaluation of {workdir.absolute().name}", facts, [_section(workdir, result) for result in results])


def _section(workdir: Path, result: DatasetResult) -> DatasetReport:
    vocabulary = result.dataset.vocabulary
    about = [
        ("trained on", result.supervision),
        ("images", f"{len(result.dataset.source):,}"),
        ("vocabulary", f"{vocabulary.name}, {len(vocabulary)} categories")
        if result.dataset.book is None
        else ("phrases", f"{len(result.dataset.book.texts):,} different ones"),
    ]
    if result.thresholds:
        about += [("score", f"> {result.thresholds.score:g}"), ("overlap", f">= {result.thresholds.overlap:g}")]
    if result.words:
        about.append(("nearest words", _nearest(result.words, " \N{RIGHTWARDS ARROW} ")))
    return DatasetReport(
        name=result.dataset.name,
        task=result.task,
        about=tuple(about),
        scores=tuple(_named_scores(result)),
        per_class=result.scores.get("per_class", {}),
        image_scores=tuple(result.best_and_worst.scores),
        best=result.best_and_worst.best,
        worst=result.best_and_worst.worst,
        history=tuple(_history(workdir, result)),
        confusion=None if result.confusion is None else (vocabulary.names, result.confusion),
    )


def _history(workdir: Path, result: DatasetResult) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Step, headline score and score by class of the evaluations that have both."""
    metric = METRICS[result.task][0]
    for step, scores in score_history(workdir, result.dataset.name):
        by_class = scores.get("per_class")
        if isinstance(scores.get(metric), float) and isinstance(by_class, dict):
            yield step, scores[metric], {k: float(v) for k, v in by_class.items() if isinstance(v, float | int)}


def _named_scores(result: DatasetResult) -> list[tuple[str, str]]:
    """Scores by their names, in percent where they are fractions."""
    shown = [(key, result.scores[key]) for key in METRICS[result.task] if key in result.scores]
    return [(METRIC_NAMES[key], f"{value if key in COUNTS else 100 * value:.1f}") for key, value in shown]


def _other_thresholds(results: Sequence[DatasetResult], common: tuple[float, float]) -> str:
    """Which datasets are scored with thresholds of their own."""
    names: dict[tuple[float, float], list[str]] = {}
    for result in results:
        if result.thresholds and (own := dataclasses.astuple(result.thresholds)) != common:
            names.setdefault(own, []).append(as_markdown(result.dataset.name))
    return "".join(f"; of {', '.join(n)}: score > {own[0]}, overlap >= {own[1]}" for own, n in names.items())


def _nearest(words: Sequence[tuple[str, str, bool]], arrow: str = " -> ") -> str:
    return ", ".join(f"{name}{arrow}{word}{'' if right else ' (wrong)'}" for name, word, right in words)
