"""Everything that can be said about a dataset on disk: its annotation file, its pictures, and both together."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from data.readers import coco_json
from data.readers.coco_boxes import CocoBoxes
from data.records import Problem, Source
from data.sources import FORMATS, open_source
from data.validate.histogram import counts
from data.validate.listing import Listing
from data.validate.report import Report
from data.validate.survey import Survey, survey
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary


def validate_dataset(
    format: str,
    root: str,
    vocabulary: Vocabulary,
    *,
    name: str = "dataset",
    options: Mapping[str, Any] = {},  # noqa: B006 - Never changed.
    limit: int = 0,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Report, Source | None]:
    """Checks a dataset as thoroughly as can be.

    Args:
      format, root, vocabulary, name: as `open_source` takes them.
      options: what else it takes: images, masks, ...
      limit, workers, progress: as `survey` takes them.

    Returns:
      The report, and the source, None if it could not be opened: the report says why.

    Raises:
      InputError: a worker process died.
    """
    title = f"{name}: {format} in {root}"
    try:
        source = open_source(format, root, vocabulary, name=name, **options)
    except InputError as error:
        # The reader stops at the first entry that it cannot use; the file may hold more of them.
        others = _listing(_annotation_file(format, root, options.get("annotations", "")), vocabulary)
        first = _told_by(error)
        told = [problem for problem in others if (problem.file, problem.record) != (first.file, first.record)]
        return Report(title, vocabulary.name, 0, Survey((first, *told))), None
    found = survey(source, vocabulary, limit, workers=workers, progress=progress)
    found = dataclasses.replace(found, problems=(*_listing(source.annotations, vocabulary), *found.problems))
    dropped = ()
    if isinstance(source, CocoBoxes):
        dropped = (("crowd boxes, dropped", source.crowd_boxes), ("boxes of no area, dropped", source.empty_boxes))
    return Report(title, vocabulary.name, len(source), found, counts(vocabulary, found.summary), dropped), source


def _told_by(error: InputError) -> Problem:
    """The problem that a reader stopped at, with the file and the entry it names as fields of their own."""
    file, _, rule = str(error).partition(": ")
    if not rule or not os.path.exists(file):
        return Problem("", "", str(error))
    entry = re.match(r"((?:image|annotation) number \d+): ", rule)
    return Problem(file, entry[1], rule[entry.end() :]) if entry else Problem(file, "", rule)


def _annotation_file(format: str, root: str, given: str) -> str:
    """The annotation file of a dataset that could not be opened; "" where there is none."""
    usual = inspect.signature(FORMATS[format]).parameters.get("annotations") if format in FORMATS else None
    places = (given or usual.default).split("|") if usual else [""]
    return next((path for path in (os.path.join(root, place) for place in places) if os.path.isfile(path)), "")


def _listing(file: str, vocabulary: Vocabulary) -> list[Problem]:
    """What is wrong with an annotation file as such; none where it is no JSON, or a folder."""
    if not (file.endswith(".json") and os.path.isfile(file)):
        return []
    listing = Listing(file, vocabulary)
    try:
        content: Any = coco_json.load(file, ("images", "annotations"))
    except InputError:  # The reader tells.
        return []
    for look, entries in ((listing.image, content["images"]), (listing.annotation, content["annotations"])):
        for number, entry in enumerate(entries):
            look(number, entry)
    return listing.problems(content)
