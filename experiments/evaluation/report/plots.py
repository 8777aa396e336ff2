"""Plots as inline SVG: they scale, print, and follow the page's colours."""

import math
from collections.abc import Sequence

from dataseg_jax.results.markup import as_html

_ROW, _LEFT, _WIDTH, _TOP = 18, 190, 560, 22  # Pixels: height of a class, room for names, width of the scale.


def bars_by_class(rows: Sequence[tuple[str, float, Sequence[float]]], bar: str, dots: Sequence[str]) -> str:
    """A bar per class with dots on it, in the order given.

    Args:
      rows: (class, fraction of the bar, fractions of the dots).
      bar: name of the bar's score.
      dots: names of the dots' scores.
    """
    height = _TOP + _ROW * len(rows) + 4
    parts = [open_svg(_LEFT + _WIDTH + 60, height, f"{bar} by class"), _scale(height)]
    for number, (name, value, others) in enumerate(rows):
        y = _TOP + _ROW * number
        parts.append(f'<g class="row"><title>{as_html(_spell(name, bar, value, dots, others))}</title>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 12}" class="name">{as_html(short(name))}</text>')
        parts.append(f'<rect class="bar" x="{_LEFT}" y="{y + 3}" width="{_WIDTH * value:.1f}" height="{_ROW - 6}"/>')
        for place, other in enumerate(others):
            centre = f'cx="{_LEFT + _WIDTH * other:.1f}" cy="{y + _ROW / 2:.1f}"'
            parts.append(f'<circle class="dot{place}" {centre} r="3.5"/>')
        parts.append(f'<text x="{_LEFT + _WIDTH + 10}" y="{y + 12}" class="value">{100 * value:.1f}</text></g>')
    return "".join([*parts, "</svg>"])


def histogram(values: Sequence[float], bins: int = 20) -> str:
    """The number of images per interval of scores; `values` are fractions."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, math.floor(value * bins)))] += 1
    tall, most, height = 120, max(counts), 190
    parts = [open_svg(_LEFT + _WIDTH + 60, height, "images by score")]
    for number, count in enumerate(counts):
        x, size = _LEFT + _WIDTH * number / bins, tall * count / max(1, most)
        low, high = 100 * number // bins, 100 * (number + 1) // bins
        title = f"<title>{count} images from {low} to {high} %</title>"
        place = f'x="{x + 1:.1f}" y="{_TOP + tall - size:.1f}" width="{_WIDTH / bins - 2:.1f}" height="{size:.1f}"'
        parts.append(f'<g class="row">{title}<rect class="bar" {place}/></g>')
        if count:
            middle = f'x="{x + _WIDTH / bins / 2:.1f}" y="{_TOP + tall - size - 4:.1f}"'
            parts.append(f'<text class="tick" {middle}>{count}</text>')
    for tick in range(0, 101, 20):
        parts.append(f'<text class="tick" x="{_LEFT + _WIDTH * tick / 100:.1f}" y="{_TOP + tall + 16}">{tick}</text>')
    middle = _LEFT + _WIDTH / 2
    parts.append(f'<text class="tick" x="{middle:.1f}" y="{height - 4}">score of an image, percent</text>')
    return "".join([*parts, "</svg>"])


def open_svg(width: float, height: float, label: str) -> str:
    """The tag that begins a plot of so many pixels."""
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{label}">'


def _scale(height: float) -> str:
    parts = []
    for tick in range(0, 101, 20):
        x = _LEFT + _WIDTH * tick / 100
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{height}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{_TOP - 8}">{tick}</text>')
    return "".join(parts)


def _spell(name: str, bar: str, value: float, dots: Sequence[str], others: Sequence[float]) -> str:
    scores = zip((bar, *dots), (value, *others), strict=True)
    return f"{name}: " + ", ".join(f"{key} {100 * score:.1f}" for key, score in scores)


def short(name: str, most: int = 26) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
