"""Checks a dataset as a whole: its annotation file, its images, and that they fit together."""

import dataclasses
import os
import re
from collections.abc import Callable

from data.problem import Problem
from data.readers.coco.boxes import CocoBoxes
from data.readers.coco.json_stream import stream
from data.source import Source
from data.validate.histogram import counts
from data.validate.listing import Listing
from data.validate.report import Report
from data.validate.survey import Survey, survey
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary


def validate_dataset(
    open_it: Callable[[], Source],
    *,
    title: str = "dataset",
    limit: int = 0,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Report, Source | None]:
    """Checks a dataset: that it opens, its annotation file, and its images.

    Args:
      open_it: opens it; what it raises as InputError is the first problem.
      title: what to call the dataset in the report.
      limit, workers, progress: as `survey` takes them.

    Returns:
      The report, and the source, None if it could not be opened: the report says why.

    Raises:
      InputError: a worker process died.
    """
    try:
        with boundary(title, "cannot be opened"):
            source = open_it()
    except InputError as error:
        # The reader stops at the first entry that it cannot use; the file may hold more of them.
        first = _problem_of(error)
        others = [p for p in _listing(first.file, None) if (p.file, p.record) != (first.file, first.record)]
        return Report(title, "", 0, Survey((first, *others))), None
    vocabulary = source.vocabulary
    found = survey(source, vocabulary, limit, workers=workers, progress=progress)
    listed = dict.fromkeys(_listing(source.annotations, vocabulary))
    others = [problem for problem in found.problems if problem not in listed]  # Some are seen by both.
    found = dataclasses.replace(found, problems=(*listed, *others))
    dropped = ()
    if isinstance(source, CocoBoxes):
        dropped = (("crowd boxes, dropped", source.crowd_boxes), ("boxes of no area, dropped", source.empty_boxes))
    return Report(title, vocabulary.name, len(source), found, counts(vocabulary, found.summary), dropped), source


def _problem_of(error: InputError) -> Problem:
    """The problem that a reader stopped at, with the file and the entry it names as fields of their own."""
    file, _, rule = str(error).partition(": ")
    if not rule or not os.path.exists(file):
        return Problem("", "", str(error))
    entry = re.match(r"((?:image|annotation) number \d+): ", rule)
    return Problem(file, entry[1], rule[entry.end() :]) if entry else Problem(file, "", rule)


def _listing(file: str, vocabulary: Vocabulary | None) -> list[Problem]:
    """What is wrong with an annotation file as such; none where it is no JSON, or a folder."""
    if not (file.endswith(".json") and os.path.isfile(file)):
        return []
    listing = Listing(file, vocabulary)
    try:
        rest = stream(
            file,
            {
                "images": lambda number, entry, _: listing.image(number, entry),
                "annotations": lambda number, entry, _: listing.annotation(number, entry),
            },
        )
    except InputError:  # The reader reports it.
        return []
    return listing.problems(rest)
