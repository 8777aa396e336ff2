"""The command line: python -m data.validate --format=... --root=DIR, exit status 0 if the dataset is sound."""

import argparse
import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.example import Example
from data.readers.coco_boxes import CocoBoxes
from data.records import Problem, Source
from data.sources import FORMATS, open_source
from data.validate.histogram import counts, histogram
from data.validate.listing import check_listing
from data.validate.report import Report, to_json, to_markdown, to_text
from data.validate.sheet import contact_sheet
from data.validate.survey import Survey, survey
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

_OPTIONS = {
    "images": "folder of the pictures below --root",
    "annotations": "annotation file below --root",
    "masks": "folder of the masks below --root",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 0 if the dataset is sound, 1 if not."""
    flags = _parser().parse_args(arguments)
    try:
        vocabulary = load_vocabulary(flags.vocabulary)
        report, source = _survey(flags, vocabulary)
        if flags.out:
            _write(flags, report, source)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_text(report, flags.show))
    return int(report.errors > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.validate", description="Checks a dataset before a run.")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--vocabulary", required=True, help="name of a bundled vocabulary, or path of a file")
    parser.add_argument("--name", default="dataset", help="what to call the dataset in messages")
    for name, text in _OPTIONS.items():
        parser.add_argument(f"--{name}", default="", help=text)
    parser.add_argument("--limit", type=int, default=0, help="look at so many pictures, evenly spread; 0 = all")
    parser.add_argument("--show", type=int, default=50, help="print at most so many problems; 0 = all")
    parser.add_argument("--out", default="", help="folder to write report.md, report.json and pictures to")
    parser.add_argument("--sheet", type=int, default=12, help="pictures on the contact sheet")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; 0 = threads of one")
    return parser


def _survey(flags: argparse.Namespace, vocabulary: Vocabulary) -> tuple[Report, Source | None]:
    title = f"{flags.name}: {flags.format} in {flags.root}"
    options = {name: getattr(flags, name) for name in _OPTIONS}
    try:
        source = open_source(flags.format, flags.root, vocabulary, name=flags.name, **options)
    except InputError as error:
        # The reader stops at the first entry that it cannot use; the file may hold more of them.
        told = [p for p in _listing(_annotation_file(flags), vocabulary) if not str(error).startswith(_start(p))]
        found = Survey(problems=(Problem("", "", str(error)), *told))
        return Report(title, vocabulary.name, 0, found), None
    found = survey(source, vocabulary, flags.limit, workers=flags.workers, progress=_Progress())
    found = dataclasses.replace(found, problems=(*_listing(source.annotations, vocabulary), *found.problems))
    dropped = ()
    if isinstance(source, CocoBoxes):
        dropped = (("crowd boxes, dropped", source.crowd_boxes), ("boxes of no area, dropped", source.empty_boxes))
    return Report(title, vocabulary.name, len(source), found, counts(vocabulary, found.summary), dropped), source


def _annotation_file(flags: argparse.Namespace) -> str:
    """The annotation file that could not be opened; "" for a format without one."""
    usual = inspect.signature(FORMATS[flags.format]).parameters.get("annotations")
    places = (flags.annotations or usual.default).split("|") if usual else [""]
    return next((path for path in (os.path.join(flags.root, p) for p in places) if os.path.isfile(path)), "")


def _listing(file: str, vocabulary: Vocabulary) -> list[Problem]:
    if not (file.endswith(".json") and os.path.isfile(file)):
        return []
    try:
        with open(file, encoding="utf-8") as opened:
            content: Any = json.load(opened)
    except (OSError, ValueError):  # The reader tells.
        return []
    return check_listing(file, content, vocabulary)


def _start(problem: Problem) -> str:
    return f"{problem.file}: {problem.record or problem.rule}"


def _write(flags: argparse.Namespace, report: Report, source: Source | None) -> None:
    try:
        os.makedirs(flags.out, exist_ok=True)
        names = []
        if report.survey.summary.pictures:
            for page, picture in enumerate(histogram(report.title, report.counts), start=1):
                names.append("histogram.png" if page == 1 else f"histogram_{page}.png")
                picture.save(os.path.join(flags.out, names[-1]))
            examples = _examples(source, report.survey.unsound, flags.sheet)
            if examples:
                names.insert(0, "contact_sheet.png")
                contact_sheet(report.title, examples, source.vocabulary).save(os.path.join(flags.out, names[0]))
        for name, text in (("report.md", to_markdown(report, names)), ("report.json", to_json(report))):
            with open(os.path.join(flags.out, name), "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise InputError(f"--out={flags.out}: cannot be written ({error.strerror})") from error


def _examples(source: Source, unsound: frozenset[int], count: int) -> list[Example]:
    """Sound pictures, evenly spread; those with targets tell more, and come first."""
    sound = [index for index in range(len(source)) if index not in unsound]
    picked = [sound[i] for i in np.linspace(0, len(sound) - 1, min(len(sound), 3 * count)).round().astype(int)]
    shown, bare = [], []
    # Every third first, so that the sheet spans the dataset whether or not some have no target.
    for index in picked[::3] + picked[1::3] + picked[2::3]:
        if len(shown) == count:
            break
        try:
            example = source[index]
        except InputError:  # With --limit, a picture that was not looked at.
            continue
        (shown if len(example.labels) else bare).append((index, example))
    return [example for _, example in sorted((shown + bare)[:count], key=lambda pair: pair[0])]


class _Progress:
    """Pictures done, rate and time left on standard error: in place on a terminal, else a line every half minute."""

    def __init__(self):
        self._began = self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        in_place = sys.stderr.isatty()
        if now - self._told < (0.2 if in_place else 30) and not (in_place and done == total):
            return
        self._told = now
        rate = done / max(now - self._began, 1e-9)
        line = f"{done} of {total} pictures, {rate:.0f}/s, {(total - done) / rate:.0f} s left"
        print(f"\r{line:<60}" if in_place else line, end="\n" if not in_place or done == total else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
