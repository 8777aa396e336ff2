"""Checks datasets before a run: which file, which record, which rule.

python -m data.validate --catalogue=coco_panoptic_train --root=DIR
python -m data.validate --format=coco_panoptic --root=DIR
"""

import argparse
import concurrent.futures
import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data.dataset_flags import add_dataset_flags, open_flagged
from data.readers.coco_boxes import CocoBoxes, clipped, has_area
from data.readers.coco_panoptic import CocoPanoptic, unlisted_ids, unseen_ids
from data.readers.label_png import LabelPng
from data.records import Problem, Record, Source, category_rule, mask_size_rule, stated_size_rule, unknown_categories
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

_TOLERANCE = 1.0  # Pixels that a box may reach over the edge of its picture: annotation tools round.
_LISTED = 5  # Ids or values of one picture to name in one line.


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One picture for the rules: its record, and what could be decoded (`image`, `mask` None where not)."""

    source: Source
    vocabulary: Vocabulary
    record: Record
    image: np.ndarray | None
    mask: np.ndarray | None
    failures: tuple[Problem, ...]

    def problem(self, file: str, rule: str, fatal: bool = True) -> Problem:
        return Problem(file, self.record.where, rule, fatal)


def files_can_be_read(sample: Sample) -> Iterator[Problem]:
    yield from sample.failures


def mask_has_size_of_picture(sample: Sample) -> Iterator[Problem]:
    image, mask = sample.image, sample.mask
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        yield sample.problem(sample.record.mask, mask_size_rule(sample.record, image, mask))


def picture_has_stated_size(sample: Sample) -> Iterator[Problem]:
    if sample.image is not None and any(sample.record.size) and sample.image.shape[:2] != sample.record.size:
        # With a mask the file's numbers are not used; boxes are in pixels of the stated size.
        fatal = not sample.record.mask
        yield sample.problem(sample.source.annotations, stated_size_rule(sample.record, sample.image), fatal)


def panoptic_ids_agree(sample: Sample) -> Iterator[Problem]:
    if not isinstance(sample.source, CocoPanoptic) or sample.mask is None:
        return
    present = np.unique(sample.mask)
    strange, unseen = unlisted_ids(sample.record, present), unseen_ids(sample.record, present)
    if strange:
        rule = f"segment ids {_some(strange)} of the PNG are not in {sample.source.annotations}"
        yield sample.problem(sample.record.mask, rule)
    if unseen:
        rule = f"segment ids {_some(unseen)} have no pixel in {sample.record.mask}"
        yield sample.problem(sample.source.annotations, rule)
    repeated = [key for key, count in Counter(sample.record.segment_ids.tolist()).items() if count > 1]
    if repeated:
        rule = f"segment ids {_some(repeated)} are listed more than once"
        yield sample.problem(sample.source.annotations, rule)


def labels_are_in_vocabulary(sample: Sample) -> Iterator[Problem]:
    if isinstance(sample.source, LabelPng) and sample.mask is not None:
        strange = sample.source.unknown_values(np.unique(sample.mask).tolist())
        if strange:
            yield sample.problem(sample.record.mask, f"label {_some(strange)} {sample.source.known_values()}")


def categories_are_in_vocabulary(sample: Sample) -> Iterator[Problem]:
    for category in unknown_categories(sample.vocabulary, sample.record.categories):
        yield sample.problem(sample.source.annotations, category_rule(sample.vocabulary, category))


def boxes_lie_in_picture(sample: Sample) -> Iterator[Problem]:
    if sample.record.mask or sample.image is None:  # Boxes of masks are measured, not read.
        return
    height, width = sample.image.shape[:2]
    boxes = sample.record.boxes
    inside = clipped(boxes, height, width)
    empty = ~has_area(boxes)
    outside = ~empty & ~(inside[:, 2:] > inside[:, :2]).all(axis=1)
    beyond = boxes[:, :2] + boxes[:, 2:] > np.array([width, height]) + _TOLERANCE
    over = ~empty & ~outside & ((boxes[:, :2] < -_TOLERANCE) | beyond).any(axis=1)
    for which, rule in (
        (empty, "has no area and is dropped"),
        (outside, f"lies outside of the {width}x{height} picture and is dropped"),
        (over, f"reaches over the edge of the {width}x{height} picture and is cut"),
    ):
        for box in boxes[which].tolist():
            spelled = ", ".join(f"{number:g}" for number in box)
            yield sample.problem(sample.source.annotations, f"box [{spelled}] {rule}", fatal=False)


# In the order in which they are reported.
RULES: tuple[Callable[[Sample], Iterator[Problem]], ...] = (
    files_can_be_read,
    mask_has_size_of_picture,
    picture_has_stated_size,
    panoptic_ids_agree,
    labels_are_in_vocabulary,
    categories_are_in_vocabulary,
    boxes_lie_in_picture,
)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the pictures that were checked hold.

    `united_panoptic` and `united_semantic` count the targets that share their slot with another one of the same
    category once stuff, or every category, is merged.
    """

    pictures: int = 0
    without_targets: int = 0
    targets: int = 0
    most_targets: int = 0
    classes: frozenset[int] = frozenset()
    united_panoptic: int = 0
    united_semantic: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        def total(key, combine=int.__add__):
            return combine(getattr(self, key), getattr(other, key))

        return Summary(
            total("pictures"),
            total("without_targets"),
            total("targets"),
            total("most_targets", max),
            total("classes", frozenset.union),
            total("united_panoptic"),
            total("united_semantic"),
        )


def check(source: Source, vocabulary: Vocabulary, limit: int = 0) -> list[Problem]:
    """Finds what is wrong with a dataset.

    Args:
      source: the dataset. What its annotation file states is checked only for the pictures that are looked at.
      vocabulary: the categories it must use.
      limit: look at so many pictures, evenly spread over the dataset; 0 = all.

    Returns:
      Problems with the annotation file as a whole, then those of single pictures in order.
    """
    return survey(source, vocabulary, limit)[0]


def survey(source: Source, vocabulary: Vocabulary, limit: int = 0) -> tuple[list[Problem], Summary]:
    """As `check`, and sums up the sound pictures that were looked at."""
    count = min(limit or len(source), len(source))
    indices = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
    problems, summary = list(source.defects), Summary()
    # Decoding releases the interpreter lock, so threads are enough; map keeps the order.
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for found, part in pool.map(lambda index: _examine(source, vocabulary, index), indices):
            problems += found
            summary += part
    if not summary.pictures:
        rule = f"no usable picture among the {count} of {source.name} that were looked at"
        problems.append(Problem(source.annotations, "", rule))
    return problems, summary


def require_sound(sources: Sequence[Source], limit: int = 0) -> None:
    """Checks datasets before a run; see `check`.

    Raises:
      InputError: with the first fatal problem, and the number of others.
    """
    fatal = [p for source in sources for p in check(source, source.vocabulary, limit) if p.fatal]
    if fatal:
        others = f" (and {len(fatal) - 1} more: run python -m data.validate)" if len(fatal) > 1 else ""
        raise InputError(f"{fatal[0]}{others}")


def _examine(source: Source, vocabulary: Vocabulary, index: int) -> tuple[list[Problem], Summary]:
    record = source.record(index)
    failures: list[Problem] = []
    image = _attempt(lambda: source.read_image(record), record, failures)
    mask = _attempt(lambda: source.read_mask(record), record, failures)
    sample = Sample(source, vocabulary, record, image, mask, tuple(failures))
    problems = [problem for rule in RULES for problem in rule(sample)]
    if any(problem.fatal for problem in problems):
        return problems, Summary()
    labels = source.build(record, image, mask).labels.tolist()
    repeats = {label: count - 1 for label, count in Counter(labels).items()}
    return problems, Summary(
        pictures=1,
        without_targets=int(not labels),
        targets=len(labels),
        most_targets=len(labels),
        classes=frozenset(labels),
        united_panoptic=sum(count for label, count in repeats.items() if not vocabulary.is_thing[label]),
        united_semantic=sum(repeats.values()),
    )


def _attempt(read: Callable[[], np.ndarray | None], record: Record, failures: list[Problem]) -> np.ndarray | None:
    try:
        return read()
    except InputError as error:
        failures.append(Problem("", record.where, str(error)))  # The message names the file already.
        return None


def _some(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:_LISTED])) + (f" and {len(values) - _LISTED} more" if values[_LISTED:] else "")


def _table(source: Source, summary: Summary, problems: Sequence[Problem]) -> str:
    fatal = sum(problem.fatal for problem in problems)
    rows = {
        "errors": fatal,
        "warnings": len(problems) - fatal,
        "pictures": len(source),
        "sound pictures looked at": summary.pictures,
        "  of these without targets": summary.without_targets,
        "targets": summary.targets,
        "targets a picture, mean": f"{summary.targets / max(1, summary.pictures):.1f}",
        "targets a picture, most": summary.most_targets,
        "classes seen": f"{len(summary.classes)} of {len(source.vocabulary)}",
        "united when stuff is merged": summary.united_panoptic,
        "united when all is merged": summary.united_semantic,
    }
    if isinstance(source, CocoBoxes):
        rows |= {"crowd boxes, dropped": source.crowd_boxes, "boxes of no area, dropped": source.empty_boxes}
    return "\n".join(f"{name:<28}{value:>12}" for name, value in rows.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 0 if the dataset is sound."""
    parser = argparse.ArgumentParser(prog="python -m data.validate", description="Checks a dataset before a run.")
    add_dataset_flags(parser)
    parser.add_argument("--limit", type=int, default=0, help="look at so many pictures, evenly spread; 0 = all")
    parser.add_argument("--show", type=int, default=50, help="print at most so many problems; 0 = all")
    flags = parser.parse_args(arguments)
    try:
        source = open_flagged(flags)
        problems, summary = survey(source, source.vocabulary, flags.limit)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    shown = sorted(problems, key=lambda problem: not problem.fatal)[: flags.show or None]
    for problem in shown:
        print(f"{'error' if problem.fatal else 'warning'}: {problem}")
    if len(problems) > len(shown):
        print(f"... and {len(problems) - len(shown)} more; --show=0 prints all")
    print(_table(source, summary, problems))
    return int(any(problem.fatal for problem in problems))


if __name__ == "__main__":
    sys.exit(main())
