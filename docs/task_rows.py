"""Draws pages/pictures/task_rows.svg: four datasets, four rows of one table, one train step.

    python -m docs.task_rows

What merges and which loss terms count is asked of the code, so that the drawing cannot say anything else.
"""

import pathlib
from xml.sax.saxutils import escape

import numpy as np

from dataseg_jax import Task, make_task_table

FILE = pathlib.Path(__file__).parent / "pages" / "pictures" / "task_rows.svg"
TERMS = ("ce", "focal", "dice", "proj")
DATASETS = (  # Name, kind, {word: whether it is a thing}.
    ("streets", "panoptic", {"car": True, "person": True, "sky": False, "road": False}),
    ("nature", "semantic", {"tree": False, "bird": True, "cloud": False, "lake": False}),
    ("shop", "instance", {"cup": True, "chair": True, "lamp": True}),
    ("web", "boxes", {"dog": True, "ball": True, "bike": True}),
)
WIDTH, HEIGHT, TOP, ROW = 940, 336, 70, 52
WORDS_X, TERMS_X, STEP_X = 170, 496, 772
TEAL, SAND, PALE, INK, GREY = "#4db6ac", "#f3dfb4", "#eceff1", "#263238", "#90a4ae"


def rows() -> list[tuple[dict[str, bool], dict[str, bool]]]:
    """For each dataset: {word: whether MERGE unites its proposals}, {term: whether it counts}."""
    tasks = [
        Task(name, kind, np.array(list(words.values())), np.eye(len(words), 8), dict.fromkeys(TERMS, 1.0))
        for name, kind, words in DATASETS
    ]
    table = make_task_table(tasks)
    mergeable, weights = np.asarray(table.mergeable), table.loss_weights
    return [
        (dict(zip(words, mergeable[row].tolist(), strict=False)), {term: bool(weights[term][row]) for term in TERMS})
        for row, (_, _, words) in enumerate(DATASETS)
    ]


def text(x: float, y: float, words: str, size: int = 14, colour: str = INK, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" {more}>{escape(words)}</text>'


def cell(x: float, y: float, width: float, words: str, fill: str, colour: str = INK) -> str:
    box = f'<rect x="{x}" y="{y}" width="{width - 6}" height="30" rx="5" fill="{fill}"/>'
    return box + text(x + (width - 6) / 2, y + 20, words, 13, colour, 'text-anchor="middle"')


def main(file: pathlib.Path = FILE) -> None:
    """Writes the drawing."""
    parts = [
        text(20, 34, "dataset", 13, GREY),
        text(WORDS_X, 34, "its words as classifiers; sand: MERGE unites them", 13, GREY),
        text(TERMS_X, 34, "loss terms that count", 13, GREY),
    ]
    for row, ((name, kind, _), (merges, terms)) in enumerate(zip(DATASETS, rows(), strict=True)):
        y = TOP + ROW * row - 14
        parts += [text(20, y + 14, name, 15, INK, 'font-weight="bold"'), text(20, y + 31, kind, 12, GREY)]
        for i, (word, united) in enumerate(merges.items()):
            parts.append(cell(WORDS_X + 76 * i, y, 76, word, SAND if united else PALE))
        for i, (term, counts) in enumerate(terms.items()):
            parts.append(cell(TERMS_X + 62 * i, y, 62, term, TEAL if counts else PALE, INK if counts else GREY))
    middle = TOP + ROW * 1.5
    parts += [
        f'<path d="M {STEP_X - 24} {middle} h 28 m -8 -6 l 8 6 l -8 6" stroke="{INK}" fill="none" stroke-width="2"/>',
        f'<rect x="{STEP_X + 14}" y="{TOP - 14}" width="140" height="{ROW * 4 - 22}" rx="8" fill="{INK}"/>',
        text(STEP_X + 84, middle - 4, "one jitted", 16, "white", 'text-anchor="middle"'),
        text(STEP_X + 84, middle + 18, "train step", 16, "white", 'text-anchor="middle"'),
        text(20, HEIGHT - 46, "Each image names its row. A new dataset is a new row: no branch, no recompilation."),
        text(20, HEIGHT - 22, "At inference a list of your words is a row, too."),
    ]
    frame = f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="white"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">'
    file.write_text("\n".join([head, "<title>A task is a row of arrays</title>", frame, *parts, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
