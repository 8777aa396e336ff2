"""The HTML page: one section per dataset, with styles, script and images inside."""

import base64
import datetime
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from dataseg_jax.results.markup import as_html
from experiments.evaluation.report.contents import CLASS_SCORES, METRIC_NAMES, DatasetReport, ShownImage
from experiments.evaluation.report.curves import confusion_matrix, curves
from experiments.evaluation.report.plots import bars_by_class, histogram
from experiments.evaluation.scorers import HEADLINE

HERE = Path(__file__).parent
LARGEST = 640  # Pixels of an image's longer side on the page.
# Task -> the score of a single image; AP is a property of a whole set.
IMAGE_SCORE = {
    "panoptic": "PQ",
    "semantic": "mIoU",
    "instance": "PQ of the instances of score 0.5 and above",
    "foreground": "S-measure",
    "referring": "mean IoU of the image's phrases",
    "prompts": "mean IoU of the image's objects after one click",
    "video": "J&F of the video's objects",
}


def page(title: str, facts: Sequence[tuple[str, str]], datasets: Sequence[DatasetReport]) -> str:
    """The HTML of a report.

    Args:
      title: heading.
      facts: (what, value) of the run as a whole: step, config, model.
      datasets: one section each.
    """
    links = "".join(f'<a href="#{_anchor(d.name)}">{as_html(d.name)}</a>' for d in datasets)
    made = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{as_html(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{(HERE / 'page.css').read_text()}</style></head><body>"
        f"<header><h1>{as_html(title)}</h1><nav>{links}</nav>{_facts([*facts, ('written', made)])}</header>"
        f"<main>{''.join(_section(d) for d in datasets)}</main>"
        '<dialog id="large"><img alt=""><p></p></dialog>'
        f"<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
    )


def _section(report: DatasetReport) -> str:
    cards = "".join(
        f'<div class="card{" first" if not place else ""}"><b>{as_html(score)}</b><span>{as_html(what)}</span></div>'
        for place, (what, score) in enumerate(report.scores)
    )
    parts = [f'<section id="{_anchor(report.name)}"><h2>{as_html(report.name)} <small>{report.task}</small></h2>']
    parts += [_facts(report.about), f'<div class="cards">{cards}</div>']
    if report.per_class:
        parts += [_plot(report), _classes(report.per_class)]
    if len(report.history) > 1:
        heading = "<h3>Over the steps <small>thick: all; thin: each class; point at a line for its name</small></h3>"
        name = METRIC_NAMES[HEADLINE[report.task]]
        parts.append(f'{heading}<div class="plot">{curves(report.history, name)}</div>')
    if report.confusion and report.confusion[1].any():
        heading = "<h3>Taken for <small>of each row's pixels, percent; columns are predictions</small></h3>"
        parts.append(f'{heading}<div class="plot tall">{confusion_matrix(*report.confusion)}</div>')
    if report.image_scores:
        parts.append(f"<h3>Images by score <small>{IMAGE_SCORE[report.task]}</small></h3>")
        parts.append(f'<div class="plot">{histogram(report.image_scores)}</div>')
    for what, images in (("Best", report.best), ("Worst", report.worst)):
        if images:
            articles = "".join(map(_image, images))
            parts.append(f'<details open class="images"><summary>{what} images</summary>{articles}</details>')
    return "".join([*parts, "</section>"])


def _plot(report: DatasetReport) -> str:
    bar, dots = CLASS_SCORES[report.task]
    rows = [
        (name, scores[bar], [scores[dot] for dot in dots]) for name, scores in report.per_class.items() if bar in scores
    ]
    rows.sort(key=lambda row: -row[1])
    legend = "".join(f'<span class="key dot{place}">{METRIC_NAMES[dot]}</span>' for place, dot in enumerate(dots))
    heading = f'<h3>By class <small><span class="key bar">{METRIC_NAMES[bar]}</span>{legend}</small></h3>'
    names = [METRIC_NAMES[dot] for dot in dots]
    return f'{heading}<div class="plot tall">{bars_by_class(rows, METRIC_NAMES[bar], names)}</div>' if rows else ""


def _classes(per_class: dict[str, dict[str, float]]) -> str:
    keys = list(dict.fromkeys(key for scores in per_class.values() for key in scores))
    head = "".join(
        f'<th data-kind="number">{as_html(METRIC_NAMES.get(key, key.replace("_", " ")))}</th>' for key in keys
    )
    rows = "".join(
        f"<tr><td>{as_html(name)}</td>{''.join(_cell(scores.get(key)) for key in keys)}</tr>"
        for name, scores in per_class.items()
    )
    return (
        '<label class="filter">Classes <input type="search" placeholder="type to filter"></label>'
        '<div class="scroll"><table class="sortable"><thead><tr><th data-kind="text">class</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(value: float | None) -> str:
    if value is None:
        return '<td data-value="-1">\N{EN DASH}</td>'
    # Counts are whole numbers in the metrics' results, scores are floats.
    shown = str(value) if isinstance(value, int) else f"{100 * value:.1f}"
    return f'<td data-value="{value}">{shown}</td>'


def _image(shown: ShownImage) -> str:
    figures = "".join(
        f'<figure><figcaption>{as_html(caption)}</figcaption><img src="{_data_uri(image)}" '
        f'alt="{as_html(caption)} of {as_html(shown.name)}" loading="lazy"></figure>'
        for caption, image in shown.columns
    )
    note = f"<p>{as_html(shown.note)}</p>" if shown.note else ""
    heading = f"<h4>{as_html(shown.name)} <small>{100 * shown.score:.1f}</small></h4>"
    return f'<article>{heading}{note}<div class="row3">{figures}</div></article>'


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    return f"<dl>{''.join(f'<div><dt>{as_html(k)}</dt><dd>{as_html(v)}</dd></div>' for k, v in facts)}</dl>"


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def shrunk(image: np.ndarray) -> np.ndarray:
    """An image at the size that the page shows; smaller ones as they are."""
    shrink = LARGEST / max(image.shape[:2])
    if shrink >= 1:
        return image
    size = max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _data_uri(image: np.ndarray) -> str:
    image = shrunk(image)
    # Small images stay sharp as PNG; photographs would fill the page with megabytes.
    ending, kind = (".png", "png") if max(image.shape[:2]) <= 160 else (".jpg", "jpeg")
    _, encoded = cv2.imencode(ending, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"
