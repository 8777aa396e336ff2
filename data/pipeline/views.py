"""Parts of a dataset: its things, where it labels stuff too, and the images that are held out of training."""

import dataclasses
import os
import re
import zlib

import numpy as np

from data.example import Example
from data.source import Record, Source
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

# Which of the two, and one image in how many is held out.
PART = re.compile(r"(kept|held_out)(?::([2-9]|[1-9]\d{1,8}))?")
ONE_IN = 10


class View(Source):
    """A dataset that shows a part of another; as it is, all of it.

    Attributes:
      whole: the other, whose files are the ones to check.
    """

    def __init__(self, whole: Source):
        self.whole = whole
        self.name, self.annotations, self.defects = whole.name, whole.annotations, whole.defects
        self.evaluation_only, self.overlapping = whole.evaluation_only, whole.overlapping
        self.image_counts = whole.image_counts
        self.vocabulary = whole.vocabulary

    def __len__(self) -> int:
        return len(self.whole)

    def record(self, index: int) -> Record:
        return self.whole.record(index)

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return self.whole.decode_mask(content, file)

    def image_bytes(self, record: Record) -> bytes:
        return self.whole.image_bytes(record)

    def mask_bytes(self, record: Record) -> bytes:
        return self.whole.mask_bytes(record)

    def read_image(self, record: Record) -> np.ndarray:
        return self.whole.read_image(record)

    def read_mask(self, record: Record) -> np.ndarray | None:
        return self.whole.read_mask(record)

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray | None) -> Example:
        return self.whole.build(record, image, mask)


class Part(View):
    """One of the two parts of a dataset: "held_out" for validation, "kept" for training; a fifth by "held_out:5".

    An image is held out if the CRC-32 of its file's name is a multiple of 10, or of the number given; if that is none,
    the one whose CRC-32 leaves the smallest rest. It stays in its part when images are added or the folder is moved.

    Raises:
      InputError: there are less than two images.
    """

    def __init__(self, whole: Source, part: str):
        super().__init__(whole)
        if len(whole) < 2:
            raise InputError(
                f"{whole.name}: has 1 image, and a part of the images is held out to score; give more, or a "
                "validation part"
            )
        which, one_in = PART.fullmatch(part).groups()
        names = (os.path.basename(whole.record(i).image) for i in range(len(whole)))
        rest = np.array([zlib.crc32(os.fsencode(name)) % int(one_in or ONE_IN) for name in names])
        held_out = rest == 0
        if held_out.all() or not held_out.any():
            held_out = np.arange(len(rest)) == rest.argmin()
        self._places = np.flatnonzero(held_out if which == "held_out" else ~held_out)

    def __len__(self) -> int:
        return len(self._places)

    def record(self, index: int) -> Record:
        return self.whole.record(int(self._places[index]))


class ThingsOnly(View):
    """A dataset whose stuff is supervised to be none of the targets; its vocabulary holds the things alone.

    Records stay what the files state, stuff included.
    """

    def __init__(self, whole: Source):
        super().__init__(whole)
        self.vocabulary = things_of(whole.vocabulary)
        index_of = {category: index for index, category in enumerate(self.vocabulary.ids)}
        self._index = np.array([index_of.get(category, -1) for category in whole.vocabulary.ids], np.int32)
        if whole.image_counts is not None:
            self.image_counts = [n for n, index in zip(whole.image_counts, self._index, strict=True) if index >= 0]

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray | None) -> Example:
        example = self.whole.build(record, image, mask)
        known = None if example.known is None else self._index[example.known]
        example = dataclasses.replace(
            example, labels=self._index[example.labels], known=None if known is None else known[known >= 0]
        )
        return example.only(np.flatnonzero(example.labels >= 0))


def things_of(vocabulary: Vocabulary) -> Vocabulary:
    """The countable categories of a vocabulary, in order.

    Raises:
      InputError: there is none.
    """
    kept = [index for index, thing in enumerate(vocabulary.is_thing) if thing]

    def of(values: tuple) -> tuple:
        return tuple(values[index] for index in kept) if values else ()

    return dataclasses.replace(
        vocabulary,
        names=of(vocabulary.names),
        is_thing=of(vocabulary.is_thing),
        ids=of(vocabulary.ids),
        texts=of(vocabulary.texts),
    )


def whole(source: Source) -> Source:
    """The dataset as its files are: all images, with whatever stuff it labels."""
    return whole(source.whole) if isinstance(source, View) else source
