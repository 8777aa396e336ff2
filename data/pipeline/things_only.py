"""The things of a dataset that labels stuff too: what the task `instance` is about."""

import dataclasses

import numpy as np

from data.example import NO_TARGET, Example
from data.source import Record, Source
from dataseg_jax.text.vocabulary import Vocabulary


class ThingsOnly(Source):
    """A dataset whose stuff is supervised to be none of the targets; its vocabulary holds the things alone.

    Records stay what the files state, stuff included.

    Attributes:
      whole: the dataset with its stuff, whose files are the ones to check.
    """

    def __init__(self, whole: Source):
        self.whole = whole
        self.name, self.annotations, self.defects = whole.name, whole.annotations, whole.defects
        self.evaluation_only, self.overlapping = whole.evaluation_only, whole.overlapping
        self.vocabulary = things_of(whole.vocabulary)
        index_of = {category: index for index, category in enumerate(self.vocabulary.ids)}
        self._index = np.array([index_of.get(category, -1) for category in whole.vocabulary.ids], np.int32)

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
        example = self.whole.build(record, image, mask)
        labels = self._index[example.labels]
        keep = labels >= 0
        segments = example.segments
        if segments is not None:
            table = np.full(len(labels) + 2, NO_TARGET, np.int32)  # The last two are for the values below 0.
            table[:-2][keep] = np.arange(keep.sum())
            table[-1] = -1
            segments = table[segments]
        return dataclasses.replace(
            example,
            labels=labels[keep],
            boxes=example.boxes[keep],
            segments=segments,
            masks=None if example.masks is None else example.masks[keep],
        )


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
    """The dataset as its files are, with whatever stuff it labels."""
    return source.whole if isinstance(source, ThingsOnly) else source
