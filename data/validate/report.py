"""What a survey found, as text for the terminal, as Markdown and as JSON."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from data.problem import Problem
from data.validate.histogram import Count
from data.validate.survey import Survey
from dataseg_jax.results.markup import as_line, as_markdown

_NEVER_SEEN = 20  # Names of classes in one line of the terminal.


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A survey with the names of what was surveyed.

    Attributes:
      title: dataset, format and folder in one line.
      vocabulary: its name.
      images: number of images in the dataset.
      survey: what was found; `survey.looked_at` is 0 where the dataset could not be opened.
      counts: classes, the most frequent first.
      dropped: what the reader leaves out, by name.
    """

    title: str
    vocabulary: str
    images: int
    survey: Survey
    counts: Sequence[Count] = ()
    dropped: tuple[tuple[str, int], ...] = ()

    @property
    def problems(self) -> list[Problem]:
        """All problems, fatal ones first."""
        return sorted(self.survey.problems, key=lambda problem: not problem.fatal)

    @property
    def errors(self) -> int:
        return sum(problem.count for problem in self.survey.problems if problem.fatal)

    @property
    def warnings(self) -> int:
        return sum(problem.count for problem in self.survey.problems if not problem.fatal)

    @property
    def never_seen(self) -> list[str]:
        return [count.name for count in self.counts if not count.images]

    @property
    def verdict(self) -> str:
        if self.errors:
            return f"NOT SOUND: {_number(self.errors, 'error')}, {_number(self.warnings, 'warning')}"
        return f"sound: no error, {_number(self.warnings, 'warning')}"


def to_text(report: Report, show: int = 0) -> str:
    """What the command prints: problems (the first `show`, 0 = all), notes, a table, the verdict."""
    problems = report.problems
    shown = problems[: show or None]
    lines = [f"{_level(problem)}: {problem}" for problem in shown]
    if len(problems) > len(shown):
        rest = sum(problem.count for problem in problems[len(shown) :])
        lines.append(f"... and {rest} more; --show=0 prints all")
    lines += [f"note: {text}" for text in grouped(report.survey.notes)]
    if report.survey.looked_at:
        unseen = report.never_seen
        if unseen:
            more = f" and {len(unseen) - _NEVER_SEEN} more" if unseen[_NEVER_SEEN:] else ""
            names = "; ".join(unseen[:_NEVER_SEEN])
            lines.append(f"note: never seen, {len(unseen)} of {len(report.counts)} classes: {names}{more}")
        lines += [f"{name:<28}{value:>12}" for name, value in table(report)]
    return "\n".join(map(as_line, [*lines, report.verdict]))


def to_markdown(report: Report, images: Sequence[str], most: int = 1000) -> str:
    """A page for people, with the drawn images (file names beside the page) and at most so many problems."""
    lines = [f"# {as_markdown(report.title)}", "", f"**{report.verdict}**", ""]
    if report.survey.looked_at:
        lines += [
            "| | |",
            "|---|---:|",
            *(f"| {as_markdown(name.strip())} | {value} |" for name, value in table(report)),
            "",
        ]
    lines += [f"![{name}]({name})" for name in images] + [""] * bool(images)
    for heading, entries in (
        ("Problems", [f"{_level(problem)}: {problem}" for problem in report.problems]),
        ("Notes", grouped(report.survey.notes)),
    ):
        if entries:
            lines += [f"## {heading}", "", *(f"- {as_markdown(entry)}" for entry in entries[:most])]
            lines += [f"- ... and {len(entries) - most} more"] if entries[most:] else []
            lines.append("")
    if report.counts:
        lines += [
            "## Classes",
            "",
            "| id | name | kind | images | targets | pixels |",
            "|---:|---|---|---:|---:|---:|",
        ]
        for row in report.counts:
            kind = "thing" if row.thing else "stuff"
            numbers = f"{row.images} | {row.targets} | {row.pixels}" if row.images else "**never seen** | |"
            lines.append(f"| {row.id} | {as_markdown(row.name)} | {kind} | {numbers} |")
        lines.append("")
    return "\n".join(lines)


def to_json(report: Report) -> str:
    """All of it for programs."""
    content: dict[str, Any] = {
        "title": report.title,
        "vocabulary": report.vocabulary,
        "sound": not report.errors,
        "errors": report.errors,
        "warnings": report.warnings,
        "summary": {name.strip(): value for name, value in table(report)},
        "problems": [{"level": _level(problem), **_fields(problem)} for problem in report.problems],
        "notes": [_fields(note) for note in report.survey.notes],
        "classes": [dataclasses.asdict(row) for row in report.counts],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def table(report: Report) -> list[tuple[str, Any]]:
    """The summary, (name, value) a row."""
    summary = report.survey.summary
    rows = [
        ("errors", report.errors),
        ("warnings", report.warnings),
        ("images", report.images),
        ("looked at", report.survey.looked_at),
        ("  sound", summary.images),
        ("  sound without targets", summary.without_targets),
        ("targets", summary.targets),
        ("targets per image, mean", f"{summary.targets / max(1, summary.images):.1f}"),
        ("targets per image, most", summary.most_targets),
        ("classes seen", f"{len(report.counts) - len(report.never_seen)} of {len(report.counts)}"),
        ("united when stuff is merged", summary.united_panoptic),
        ("united when all is merged", summary.united_semantic),
    ]
    if summary.pixels:
        rows.append(("void pixels", f"{summary.void / summary.pixels:.1%}"))
    return rows + list(report.dropped)


def grouped(notes: Iterable[Problem]) -> list[str]:
    """Equal notes in one line each: how many images, what, and the first of them."""
    first: dict[str, Problem] = {}
    number: Counter[str] = Counter()
    for note in notes:
        first.setdefault(note.rule, note)
        number[note.rule] += note.count
    return [
        f"{first[rule]}" if count == 1 else f"{count} images, {first[rule].file} ({first[rule].record}) first: {rule}"
        for rule, count in number.most_common()
    ]


def _level(problem: Problem) -> str:
    return "error" if problem.fatal else "warning"


def _fields(problem: Problem) -> dict[str, str]:
    more = {"more": problem.more} if problem.more else {}  # How many others like it are counted, not listed.
    return {"file": problem.file, "record": problem.record, "rule": problem.rule} | more


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
