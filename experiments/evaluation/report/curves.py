"""More plots as inline SVG: which class is taken for which, and how the scores of the classes grew."""

import math
from collections.abc import Sequence

import numpy as np

from dataseg_jax.results.markup import as_html
from experiments.evaluation.report.plots import open_svg, short

MOST_CLASSES = 40  # Of a confusion matrix; those with most pixels.
_CELL, _LEFT, _TOP, _HEIGHT, _WIDTH = 22, 190, 150, 220, 560
NOTHING = "no prediction"


def confusion_matrix(names: Sequence[str], pixels: np.ndarray) -> str:
    """Truth by prediction: the share of the pixels of each row's class that each column's class was given to.

    Args:
      names: of the K classes.
      pixels: int64[K, K + 1], the last column without prediction.
    """
    shown = np.sort(np.argsort(-pixels.sum(1), kind="stable")[:MOST_CLASSES])
    shown = shown[pixels[shown].sum(1) > 0]
    share = pixels[shown] / pixels[shown].sum(1, keepdims=True)
    columns = [*shown, *([len(names)] if share[:, -1].any() else [])]
    size = _LEFT + _CELL * len(columns) + 60, _TOP + _CELL * len(shown) + 4
    parts = [open_svg(*size, "confusion matrix")]
    for place, column in enumerate(columns):
        x = _LEFT + _CELL * place + _CELL / 2 + 4
        name = as_html(short(names[column] if column < len(names) else NOTHING, 20))
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 6}" transform="rotate(-60 {x:.1f} {_TOP - 6})">{name}</text>')
    for row, true in enumerate(shown):
        y = _TOP + _CELL * row
        parts.append(f'<text class="name" x="{_LEFT - 8}" y="{y + 15}">{as_html(short(names[true]))}</text>')
        for place, column in enumerate(columns):
            parts.append(_cell(names, true, column, share[row, column], _LEFT + _CELL * place, y))
    return "".join([*parts, "</svg>"])


def _cell(names: Sequence[str], true: int, guess: int, share: float, x: float, y: float) -> str:
    taken = names[guess] if guess < len(names) else NOTHING
    title = as_html(f"{names[true]} taken for {taken}: {100 * share:.1f} %" if true != guess else
                    f"{names[true]} found: {100 * share:.1f} %")  # fmt: skip
    place = f'x="{x}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"'
    kind = "hit" if true == guess else "miss"
    # The square root: a class that loses a hundredth of its pixels to another is still seen.
    filled = f'<rect class="{kind}" {place} style="opacity:{math.sqrt(share):.3f}"/>' if share else ""
    number = round(100 * share)
    text = f'<text class="tick" x="{x + _CELL / 2}" y="{y + 15}">{number}</text>' if number else ""
    return f'<g class="row"><title>{title}</title><rect class="cell" {place}/>{filled}{text}</g>'


def curves(history: Sequence[tuple[int, float, dict[str, float]]], name: str) -> str:
    """The scores over the steps: a thick line of all, a thin one of every class.

    Args:
      history: (step, score of all, score by class), the steps ascending, at least two.
      name: of the score.
    """
    steps = [step for step, _, _ in history]
    first, last = steps[0], max(steps[-1], steps[0] + 1)
    top, height = 12, _HEIGHT + 60

    def path(points: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{_x(step, first, last):.1f},{top + _HEIGHT * (1 - score):.1f}" for step, score in points)

    parts = [open_svg(_LEFT + _WIDTH + 60, height, f"{name} over the steps")]
    for tick in range(0, 101, 20):
        y = top + _HEIGHT * (1 - tick / 100)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="name" x="{_LEFT - 8}" y="{y + 4:.1f}">{tick}</text>')
    for step in sorted({first, (first + last) // 2, last}):
        parts.append(f'<text class="tick" x="{_x(step, first, last):.1f}" y="{top + _HEIGHT + 18}">{step:,}</text>')
    parts.append(f'<text class="tick" x="{_LEFT + _WIDTH / 2}" y="{top + _HEIGHT + 38}">step</text>')
    for each in dict.fromkeys(key for _, _, by_class in history for key in by_class):
        points = [(step, by_class[each]) for step, _, by_class in history if each in by_class]
        title = as_html(f"{each}: {name} {100 * points[-1][1]:.1f} at step {points[-1][0]:,}")
        parts.append(f'<g class="curve"><title>{title}</title><polyline points="{path(points)}"/></g>')
    title = as_html(f"all: {name} {100 * history[-1][1]:.1f} at step {steps[-1]:,}")
    line = f'<polyline points="{path([(step, score) for step, score, _ in history])}"/>'
    parts.append(f'<g class="curve all"><title>{title}</title>{line}</g>')
    return "".join([*parts, "</svg>"])


def _x(step: int, first: int, last: int) -> float:
    return _LEFT + _WIDTH * (step - first) / (last - first)
