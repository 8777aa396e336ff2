"""What a run leaves behind: tables of scores and parameters, sheets of overlays, and a report to look at."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from clu import parameter_overview
from pycocotools import mask as rle

from data.example import Example
from dataseg_jax.results import palette, visualise
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.training.optim import ParameterRow
from experiments.evaluation.dataset_result import Outcome
from experiments.evaluation.instance_quality import CERTAIN
from experiments.evaluation.report import Case, DatasetReport, page, shrunk
from experiments.runtime.settings import Settings

COLUMNS = {
    "panoptic": ("pq", "pq_things", "pq_stuff", "sq", "rq", "ceiling_pq", "nearest_name_accuracy"),
    "semantic": (
        "miou", "pixel_accuracy", "colour_classifier_miou", "majority_class_miou", "ceiling_miou",
        "nearest_name_accuracy",
    ),
    "instance": ("mask_ap", "mask_ap50", "nearest_name_accuracy"),
}  # fmt: skip
NAMES = {
    "pq": "PQ", "pq_things": "PQ things", "pq_stuff": "PQ stuff", "sq": "SQ", "rq": "RQ", "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy", "mask_ap": "mask AP", "mask_ap50": "mask AP50",
    "colour_classifier_miou": "mIoU of a per-pixel colour classifier",
    "majority_class_miou": "mIoU of the majority class",
    "ceiling_pq": "PQ ceiling of stride-4 masks", "ceiling_miou": "mIoU ceiling of stride-4 masks",
    "nearest_name_accuracy": "trained names whose nearest word is right",
}  # fmt: skip
CAPTIONS = ("image", "prediction", "ground truth")


def table(outcomes: Sequence[Outcome], settings: Settings) -> str:
    """A Markdown table: one row a metric, grouped by dataset; beneath it the thresholds, and how near words are."""
    lines = ["| dataset | trained on | images | metric | score |", "|---|---|---|---|---|"]
    for outcome in outcomes:
        row = f"| {outcome.dataset.name} | {outcome.supervision} | {len(outcome.dataset.source)} |"
        lines += [f"{row} {what} | {100 * value:.1f} |" for what, value in _headlines(outcome)]
    common = settings.eval.score_threshold, settings.eval.overlap_threshold
    note = "Percent, on held-out images unless a config says otherwise."
    lines += ["", f"{note} PQ: score > {common[0]}, overlap >= {common[1]}{_exceptions(outcomes, common)}."]
    for outcome in outcomes:
        if outcome.words:
            lines.append(f"{outcome.dataset.name}, the word nearest to each trained name: {_spell(outcome.words)}.")
    return "\n".join(lines)


def _spell(words: Sequence[tuple[str, str, bool]], arrow: str = " -> ") -> str:
    return ", ".join(f"{name}{arrow}{word}{'' if right else ' (wrong)'}" for name, word, right in words)


def _headlines(outcome: Outcome) -> list[tuple[str, float]]:
    return [(NAMES[key], outcome.scores[key]) for key in COLUMNS[outcome.task] if key in outcome.scores]


def _exceptions(outcomes: Sequence[Outcome], common: tuple[float, float]) -> str:
    """Which datasets are scored with thresholds of their own."""
    names: dict[tuple[float, float], list[str]] = {}
    for outcome in outcomes:
        if outcome.thresholds and (own := dataclasses.astuple(outcome.thresholds)) != common:
            names.setdefault(own, []).append(outcome.dataset.name)
    return "".join(f"; of {', '.join(n)}: score > {own[0]}, overlap >= {own[1]}" for own, n in names.items())


def write_report(workdir: Path, step: int, outcomes: Sequence[Outcome], settings: Settings) -> None:
    """Prints the table; writes results.md, results.json, report.html and one sheet of overlays per dataset."""
    text = table(outcomes, settings)
    files = {"results.md": text + "\n", "report.html": _page(workdir, step, outcomes, settings)}
    scores = {outcome.dataset.name: outcome.scores for outcome in outcomes}
    files["results.json"] = json.dumps({"step": step, "scores": scores}, indent=1) + "\n"
    written = [workdir / name for name in files]
    for name, content in files.items():
        (workdir / name).write_text(content)
    for outcome in outcomes:
        if outcome.rows:
            written.append(workdir / "overlays" / f"{outcome.dataset.name}.png")
            written[-1].parent.mkdir(exist_ok=True)
            cv2.imwrite(str(written[-1]), cv2.cvtColor(sheet(outcome.rows), cv2.COLOR_RGB2BGR))
    print(f"\nresults at step {step}\n\n{text}\n", flush=True)
    print(f"written: {', '.join(map(str, written))}", flush=True)


def _page(workdir: Path, step: int, outcomes: Sequence[Outcome], settings: Settings) -> str:
    model = settings.model
    facts = (
        ("step", f"{step:,}"),
        ("backbone", model.backbone["name"]),
        ("queries", str(model.mask_decoder["queries"])),
        ("input", f"{settings.image_size} x {settings.image_size}"),
        ("text space", settings.text_space),
    )
    return page(f"Evaluation of {workdir.absolute().name}", facts, [_section(outcome) for outcome in outcomes])


def _section(outcome: Outcome) -> DatasetReport:
    vocabulary, extremes = outcome.dataset.vocabulary, outcome.extremes
    about = [
        ("trained on", outcome.supervision),
        ("images", f"{len(outcome.dataset.source):,}"),
        ("vocabulary", f"{vocabulary.name}, {len(vocabulary)} categories"),
    ]
    if outcome.thresholds:
        about += [("score", f"> {outcome.thresholds.score:g}"), ("overlap", f">= {outcome.thresholds.overlap:g}")]
    if outcome.words:
        about.append(("nearest words", _spell(outcome.words, " \N{RIGHTWARDS ARROW} ")))
    return DatasetReport(
        name=outcome.dataset.name,
        task=outcome.task,
        about=tuple(about),
        scores=tuple(_headlines(outcome)),
        per_class=outcome.scores.get("per_class", {}),
        image_scores=tuple(extremes.scores),
        best=extremes.best,
        worst=extremes.worst,
    )


def case(example: Example, result: Segmentation, truth: dict, score: float) -> Case:
    """One image of the report."""
    # Shrunk at once: hosts send each other what they keep.
    columns = zip(CAPTIONS, map(shrunk, sheet_row(example, result, truth)), strict=True)
    shown = [s for s in result.segments if s.score is None or result.task != "instance" or s.score >= CERTAIN]
    note = "" if shown else f"Nothing is shown: {result.proposal_counts}"
    return Case(Path(example.file).name, score, tuple(columns), note)


def sheet_row(example: Example, result: Segmentation, truth: dict) -> tuple[np.ndarray, ...]:
    """Image, prediction and ground truth of one example."""
    spoken = result.vocabulary.spoken
    colours = palette.palette(spoken)
    names = [spoken[int(k)] for k in truth["labels"]]
    if "segments" in truth:
        labels = {i + 1: name for i, name in enumerate(names)}
        drawn = visualise.overlay(example.image, truth["segments"], labels, colours=colours)
    else:
        masks = [_decoded(record["mask"], example.image.shape[:2]) for record in truth["records"]]
        masks = np.array(masks, bool).reshape(-1, *example.image.shape[:2])
        drawn = visualise.instance_overlay(example.image, masks, names, colours=colours)
    return example.image, result.overlay(), drawn


def sheet(rows: Sequence) -> np.ndarray:
    """Rows of `sheet_row` as one image."""
    return visualise.grid(rows, CAPTIONS)


def _decoded(mask, size):
    if isinstance(mask, np.ndarray):
        return mask
    if isinstance(mask, list):
        mask = rle.merge(rle.frPyObjects(mask, *size))
    elif isinstance(mask["counts"], list):
        mask = rle.frPyObjects(mask, *size)
    return rle.decode(mask).astype(bool)


def parameter_table(rows: list[ParameterRow]) -> str:
    """One line a parameter, and the total."""

    def cell(value) -> str:
        if isinstance(value, tuple):
            return "x".join(map(str, value)) or "scalar"
        return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

    total = sum(row.size for row in rows)
    return f"{parameter_overview.make_table(rows, value_formatter=cell)}\ntotal: {total:,}\n"
