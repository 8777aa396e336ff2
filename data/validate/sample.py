"""One image as the rules see it: its record, its files, and what could be decoded of them."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline.regions import runs
from data.problem import Problem
from data.source import Record, Source
from data.validate.files import Header, damage, read_header
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, eq=False)
class File:
    """An image or mask: `content` is None where there is no file to look at, `value` where it is not usable."""

    path: str
    content: bytes | None = None
    header: Header | None = None
    value: np.ndarray | None = None
    fault: Problem | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One image for the rules. `image` and `mask` are None where they could not be read, or there is none."""

    source: Source
    vocabulary: Vocabulary
    record: Record
    image_file: File
    mask_file: File

    @property
    def reader(self) -> Source:
        """The source whose code decodes and builds; for prepared data that of the original layout."""
        return getattr(self.source, "reader", self.source)

    @property
    def image(self) -> np.ndarray | None:
        return self.image_file.value

    @property
    def mask(self) -> np.ndarray | None:
        return self.mask_file.value

    @functools.cached_property
    def values(self) -> dict[int, int]:
        """Value of the mask -> number of its pixels, in order."""
        if self.mask is None:
            return {}
        starts, lengths = runs(self.mask)
        present, owner = np.unique(self.mask.reshape(-1)[starts], return_inverse=True)
        pixels = np.bincount(owner, weights=lengths).astype(np.int64)
        return dict(zip(present.tolist(), pixels.tolist(), strict=True))

    def problem(self, file: str, rule: str, fatal: bool = True) -> Problem:
        return Problem(file, self.record.where, rule, fatal)


def areas(example: Example) -> tuple[np.ndarray, int]:
    """Pixels of the targets, int64[S], and of void; zeros where there are only boxes."""
    count = len(example.labels)
    if example.segments is None:
        return np.zeros(count, np.int64), 0
    starts, lengths = runs(example.segments)
    owner = example.segments.reshape(-1)[starts] - NO_TARGET  # NO_TARGET becomes 0, VOID 1, the first target 2.
    pixels = np.bincount(owner, weights=lengths, minlength=count + 2).astype(np.int64)
    own = pixels[2:] if example.masks is None else example.masks.areas
    return own, int(pixels[VOID - NO_TARGET])


def read_sample(source: Source, vocabulary: Vocabulary, index: int) -> Sample:
    """Reads image `index` of a source as far as possible; problems with its files are kept, not raised."""
    record = source.record(index)
    image = _read(record.image, source.image_bytes, source.read_image, source, record)
    mask = File("")
    if record.mask:
        mask = _read(record.mask, source.mask_bytes, source.read_mask, source, record)
    return Sample(source, vocabulary, record, image, mask)


def problem_of(error: InputError, source: Source, record: Record) -> Problem:
    """The problem in a reader's message, with the file and the record it names as fields of their own."""
    rule, file = str(error), ""
    for known in (record.mask, record.image, source.annotations):
        if known and rule.startswith(f"{known}: "):
            file, rule = known, rule.removeprefix(f"{known}: ")
            break
    return Problem(file, record.where, rule.removeprefix(f"{record.where}: "))


def _read(path: str, read_bytes: Callable, read: Callable, source: Source, record: Record) -> File:
    content = header = value = fault = None
    try:
        with boundary(path, "cannot be used"):
            content = read_bytes(record)
            header = read_header(content)
            broken = damage(content, header, source.limits)
            if broken:
                return File(path, content, header, None, Problem(path, record.where, broken))
            value = read(record)
    except InputError as error:
        fault = problem_of(error, source, record)
    return File(path, content, header, value, fault)
