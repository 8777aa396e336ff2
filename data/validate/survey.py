"""Checks the images of a dataset, in threads or in processes, and collects the problems and counts."""

import concurrent.futures
import dataclasses
import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np

from data.example import Example
from data.pipeline.interrupts import leave_interrupts_to_the_main_process
from data.problem import Problem, Problems
from data.source import Source
from data.validate import rules
from data.validate.sample import Sample, problem_of, read_sample
from data.validate.summary import Summary, summarise
from data.validate.suspicions import suspicions
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary

_CHUNK = 16  # Images per task of a worker.
_QUEUED = 4096  # Images or tasks that wait for a thread or a worker; a million would take gigabytes.


@dataclasses.dataclass(frozen=True, eq=False)
class Survey:
    """What was found in a dataset.

    Attributes:
      problems: those of the annotation file and of the dataset as a whole, then those of single images in order.
      notes: what is accepted but worth knowing, one per image.
      summary: counts.
      looked_at: number of images.
      unsound: indices of images with a fatal problem.
    """

    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    summary: Summary = Summary()
    looked_at: int = 0
    unsound: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """What was found in one image; `content` is a digest of its file, b"" where it has none of its own."""

    index: int
    problems: Problems
    notes: list[Problem]
    summary: Summary
    file: str
    where: str
    content: bytes


def survey(
    source: Source,
    vocabulary: Vocabulary,
    limit: int = 0,
    *,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Looks at the images of a dataset.

    Args:
      source: the dataset. What its annotation file states is checked only for the images that are looked at.
      vocabulary: the categories it must use.
      limit: look at so many images, evenly spread over the dataset; 0 = all.
      workers: processes to use; 0 = threads of this one. Processes also catch the warnings of JPEG decoders.
      progress: called with the number of images done and to do.

    Raises:
      InputError: a worker process died.
    """
    indices = looked_at(source, limit)
    count = len(indices)
    problems, notes = Problems(rules.MOST_OF_DATASET), Problems(rules.MOST_OF_DATASET)
    summary, unsound = Summary(), set()
    first_of: dict[bytes, int] = {}
    for done, part in enumerate(_parts(source, vocabulary, indices, workers), start=1):
        problems.add(part.problems)
        for note in part.notes:
            notes.add([note], note.rule)
        summary += part.summary
        if any(problem.fatal for problem in part.problems):
            unsound.add(part.index)
        first = first_of.setdefault(part.content, part.index) if part.content else part.index
        if first != part.index:
            other = source.record(first)
            rule = f"has the content of {other.image} ({other.where})"
            problems.add([Problem(part.file, part.where, rule, fatal=False)], "content")
        progress(done, count)
    whole = [*source.defects, *suspicions(source, vocabulary, summary)]
    if not summary.images:
        rule = f"no usable image among the {count} of {source.name} that were looked at"
        problems.add([Problem(source.annotations, "", rule)], "usable")
    return Survey((*whole, *problems), tuple(notes), summary, count, frozenset(unsound))


def looked_at(source: Source, limit: int = 0) -> list[int]:
    """Indices of the images that `survey` looks at."""
    return np.linspace(0, len(source) - 1, min(limit or len(source), len(source))).round().astype(int).tolist()


def check(source: Source, vocabulary: Vocabulary, limit: int = 0) -> list[Problem]:
    """The problems that `survey` finds."""
    return list(survey(source, vocabulary, limit).problems)


def require_sound(sources: Sequence[Source], limit: int = 0) -> None:
    """Checks datasets before a run; see `check`.

    Raises:
      InputError: with the first fatal problem, and the number of others.
    """
    fatal = [p for source in sources for p in check(source, source.vocabulary, limit) if p.fatal]
    if fatal:
        count = sum(problem.count for problem in fatal)
        others = f" (and {count - 1} more: run python -m data.validate)" if count > 1 else ""
        raise InputError(f"{dataclasses.replace(fatal[0], more=0)}{others}")


def _parts(source: Source, vocabulary: Vocabulary, indices: list[int], workers: int) -> Iterator[_Part]:
    """Examines images, in order."""
    if not workers:
        # Decoding releases the interpreter lock, so threads do for the few images before a run.
        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for start in range(0, len(indices), _QUEUED):
                yield from pool.map(lambda i: _examine(source, vocabulary, i), indices[start : start + _QUEUED])
        return
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    pool = concurrent.futures.ProcessPoolExecutor(
        min(workers, len(chunks)),
        multiprocessing.get_context("spawn"),  # Threads of OpenCV do not outlive a fork.
        _begin_worker,
        (source, vocabulary),
    )
    try:
        for start in range(0, len(chunks), _QUEUED):
            for parts in pool.map(_examine_chunk, chunks[start : start + _QUEUED]):
                yield from parts
    except BrokenProcessPool as error:
        raise InputError(f"{source.name}: a worker process died; with little memory, give fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _examine(source: Source, vocabulary: Vocabulary, index: int) -> _Part:
    """What is wrong with one image; where its record or a rule about it fails, that is what is wrong."""
    where = f"image number {index}"
    try:
        with boundary(source.annotations, f"{where} cannot be used"):
            return _judge(source, vocabulary, index)
    except InputError as error:
        problem = Problem(source.annotations, where, str(error).removeprefix(f"{source.annotations}: "))
        problems = Problems(rules.MOST_OF_IMAGE)
        problems.add([problem], "examine")
        return _Part(index, problems, [], Summary(), source.annotations, where, b"")


def _judge(source: Source, vocabulary: Vocabulary, index: int) -> _Part:
    sample = read_sample(source, vocabulary, index)
    problems = Problems(rules.MOST_OF_IMAGE)
    for rule in rules.RULES:
        problems.add(rule(sample), rule.__name__)
    example = _build(sample, problems)
    if example is not None:
        problems.add(rules.targets_have_pixels(sample, example), "targets_have_pixels")
    content = sample.image_file.content
    return _Part(
        index,
        problems,
        list(rules.notes(sample, example)),
        summarise(sample, example),
        sample.record.image,
        sample.record.where,
        hashlib.blake2b(content, digest_size=16).digest() if content else b"",
    )


def _build(sample: Sample, problems: Problems) -> Example | None:
    """The example of an image without fatal problems; what the reader refuses is one more of them."""
    if any(problem.fatal for problem in problems):
        return None
    try:
        with boundary(sample.source.annotations, f"{sample.record.where}: cannot be used"):
            return sample.source.build(sample.record, sample.image, sample.mask)
    except InputError as error:
        problems.add([problem_of(error, sample.source, sample.record)], "build")
        return None


# What a worker process works on. It receives the source once, not with every chunk.
_worker: list = []


def _begin_worker(source: Source, vocabulary: Vocabulary) -> None:
    leave_interrupts_to_the_main_process()
    cv2.setNumThreads(1)
    log = tempfile.TemporaryFile()
    os.dup2(log.fileno(), 2)  # Standard error, where decoders complain, in C.
    _worker[:] = source, vocabulary, log


def _examine_chunk(indices: list[int]) -> list[_Part]:
    source, vocabulary, log = _worker
    parts = []
    for index in indices:
        start = os.lseek(log.fileno(), 0, os.SEEK_CUR)
        part = _examine(source, vocabulary, index)
        said = os.pread(log.fileno(), os.lseek(log.fileno(), 0, os.SEEK_CUR) - start, start)
        for line in dict.fromkeys(said.decode(errors="replace").splitlines()):
            if "JPEG data" in line:  # The decoder fills in what it cannot read, and carries on.
                problem = Problem(part.file, part.where, f"the decoder says: {line.strip()}", fatal=False)
                part.problems.add([problem], "decoder")
        parts.append(part)
    return parts
