"""What is done with a dataset that may be damaged, and what must hold of all that comes out of it.

Whatever is wrong ends in an InputError of one line, or in a row of the report of data.validate. Everything else that
is raised passes, and is what the fuzz looks for. `Broken` says that something damaged was accepted.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from typing import Any

import numpy as np

from data.example import Example
from data.formats import open_source
from data.pipeline.mixture import DatasetEntry, Mixture
from data.pipeline.transforms import Augmentation
from data.pipeline.words import PhraseBook, phrases_of
from data.prepare.packing import describe
from data.prepare.plan import make_plan
from data.prepare.run import prepare
from data.readers import LAYOUTS
from data.source import Source
from data.validate import validate_dataset
from data.validate.report import to_json, to_markdown, to_text
from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from tests.fuzz.corpus import PASCAL, VOCABULARY
from tests.fuzz.targets import FORMATS, TARGETS

NAME = "mine"
VOCABULARIES = {"pascal": PASCAL, "regions": load_vocabulary("visual_genome")}
WORDS = 4  # Of an image with phrases.
LONGEST = 2200  # Characters of a message: what `InputError` cuts to, and its ellipsis.
READ = ("survey",)
ALL = ("survey", "mixture", "prepare")


class Broken(AssertionError):
    """Something damaged came through, or a message is none."""


@dataclasses.dataclass
class Outcome:
    """What one input led to.

    Attributes:
      refusals: the messages of InputErrors, in order.
      problems: (fatal, text) of the rows of data.validate.
      result: what was accepted, as values that can be compared.
    """

    refusals: list[str] = dataclasses.field(default_factory=list)
    problems: list[tuple[bool, str]] = dataclasses.field(default_factory=list)
    result: Any = None


def require(holds: Any, what: str, *values: Any) -> None:
    if not holds:
        raise Broken(": ".join([what, *map(str, values)]))


def check_line(text: str, *names: str, longest: int = LONGEST) -> str:
    """A message for people: one line that any terminal takes, of bounded length, which names something."""
    require(text.isprintable(), f"not on one line: {text[:300]!r}")
    require(len(text) <= longest, f"{len(text)} characters: {text[:300]!r}")
    require(not names or any(name in text for name in names), f"names none of {names}: {text[:300]!r}")
    return text


def dataset(root: str, target: str, ways: tuple[str, ...] = ALL) -> Outcome:
    """Opens a dataset, reads and builds every image, and takes the other `ways` that a dataset can be used."""

    def opened() -> Source:
        options = {"format": FORMATS.get(target), **TARGETS[target].options}
        return open_source(root=root, vocabulary=VOCABULARIES.get(target, VOCABULARY), name=NAME, **options)

    outcome, source, unreadable = Outcome(), None, set()
    try:
        source = opened()
    except InputError as error:
        outcome.refusals.append(check_line(str(error), root, NAME))
    if source is not None:
        require(0 < len(source) < 1000, f"{len(source)} images")
        outcome.result = []
        for index in range(len(source)):
            try:
                outcome.result.append(digest(source[index], len(source.vocabulary), root))
            except InputError as error:
                outcome.refusals.append(check_line(str(error), root, NAME))
                outcome.result.append(None)
                unreadable.add(index)
    if "survey" in ways:
        _survey(root, opened, source, unreadable, outcome)
    if source is not None and "mixture" in ways:
        _mixture(root, source, len(unreadable) < len(source))
    if type(source) in LAYOUTS.values() and "prepare" in ways:
        _prepare(root, source, outcome)
    return outcome


def digest(example: Example, categories: int, root: str) -> tuple:
    """Checks an example that was accepted, and gives it in a form that can be compared."""
    image, labels, boxes = example.image, example.labels, example.boxes
    height, width = image.shape[:2]
    count = len(labels)
    require(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size, "image")
    require(labels.dtype == np.int32 and ((labels >= 0) & (labels < categories)).all(), "labels", labels)
    require(boxes.dtype == np.float32 and boxes.shape == (count, 4) and np.isfinite(boxes).all(), "boxes", boxes)
    edge = np.float32([width, height])
    require(
        (boxes >= 0).all() and (boxes[:, :2] <= boxes[:, 2:]).all() and (boxes[:, 2:] <= edge).all(), "boxes", boxes
    )
    if example.segments is not None:
        last = count if example.masks is None else 0
        require(example.segments.shape == (height, width), "size of segments")
        require(((example.segments >= -2) & (example.segments < last)).all(), "segments out of range")
    masks = None if example.masks is None else [np.asarray(mask) for mask in example.masks]
    if masks is not None:
        require(len(masks) == count, "number of masks")
        require(all(m.shape == (height, width) and m.max(initial=0) <= 1 and m.any() for m in masks), "masks")
    require(-(2**31) <= example.image_id < 2**31, f"image id {example.image_id}")
    file = os.path.relpath(example.file, root) if os.path.isabs(example.file) else example.file
    require(not file.startswith(".."), f"file {file}")
    arrays = (image, labels, boxes, example.segments, None if masks is None else np.array(masks))
    for phrases in example.phrases or ():
        require(all(phrase.strip() for phrase in phrases), "an empty phrase", phrases)
    words = example.phrases, example.absent_phrases
    return (example.image_id, file, words, *(None if array is None else _hash(array) for array in arrays))


def _hash(array: np.ndarray) -> str:
    return f"{array.shape}{hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()}"


def _survey(root: str, opened, source: Source | None, unreadable: set[int], outcome: Outcome) -> None:
    report, _ = validate_dataset(opened, title=NAME)
    # Those of prepared data name the files as they were called before.
    outcome.problems = [
        (problem.fatal, check_line(str(problem), longest=3 * LONGEST)) for problem in report.survey.problems
    ]
    outcome.problems += [(False, check_line(str(note), longest=3 * LONGEST)) for note in report.survey.notes]
    for text in (to_text(report), to_markdown(report, []), to_json(report)):
        text.encode("utf-8")
    json.loads(to_json(report))
    require(source is not None or report.errors, "data.validate finds nothing in what cannot be opened")
    missed = unreadable - report.survey.unsound
    require(not missed, f"data.validate says that images {sorted(missed)} are sound: {outcome.refusals[:1]}")


def _mixture(root: str, source: Source, any_readable: bool) -> None:
    """Training reads it: images that cannot be read are replaced as long as there is one that can."""
    source.evaluation_only = ""
    aug = Augmentation((16, 16), min_area=1)
    texts = phrases_of(source, mirror=True) if source.phrased else ()
    book = PhraseBook(texts, np.zeros((len(texts), 2), np.float16), WORDS, negatives=1) if texts else None
    entry = DatasetEntry(source, 0, "coverage", aug, [False] * len(source.vocabulary), 1.0, book)
    try:
        batch, failures = Mixture([entry], 2, 5, seed=0, total_steps=2).read(0)
    except InputError as error:
        check_line(str(error), root, NAME)
        require(not any_readable, f"the run ends, and could go on: {error}")
        return
    for failure in failures:
        check_line(failure.reason, root, NAME)
    require(all(np.isfinite(value).all() for value in batch.values()), "a batch that is not finite")


def _prepare(root: str, source: Source, outcome: Outcome) -> None:
    """What data.prepare copies reads back as the original does; it refuses the rest."""
    folder = tempfile.mkdtemp(dir=os.path.dirname(root))
    out = os.path.join(folder, "out")
    try:
        format = next(name for name, kind in LAYOUTS.items() if kind is type(source))
        metadata = describe(source, format, root)
        try:
            plan = make_plan(source, metadata, root, "train", shard_bytes=10**6)
            prepare(source, root, out, plan, say=lambda line: None)
        except InputError as error:
            check_line(str(error), root, folder, NAME)
            return
        copy = open_source("array_record", out, source.vocabulary, name=NAME)
        require(len(copy) == len(source), "another number of images after data.prepare")
        for index, before in enumerate(outcome.result):
            try:
                after = digest(copy[index], len(source.vocabulary), out)
            except InputError as error:  # Prepared data calls files by their paths below the original root.
                record = source.record(index)
                names = [os.path.relpath(path, root) for path in (record.image, record.mask) if path]
                check_line(str(error), out, NAME, *names)
                after = None
            require(before == after, f"image {index} is another after data.prepare: {before} {after}")
    finally:
        shutil.rmtree(folder)
