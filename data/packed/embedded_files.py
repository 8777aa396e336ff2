"""Records that carry their files within them, and sources of such records."""

import dataclasses

import numpy as np

from data.example import Example
from data.images import decode_rgb
from data.packed.tfds_directory import TfdsDirectory
from data.source import Record, Source
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRecord(Record):
    """A record together with the content of its files; `image` and `mask` are only the files' names.

    Attributes:
      image_content: the image's file.
      mask_content: the mask's file, b"" where there is none.
    """

    image_content: bytes = b""
    mask_content: bytes = b""


class StoredSource(Source):
    """Images out of a directory of TFDS; the code of an original layout decodes and builds them.

    To read a record is to read its files' content: cheap beside decoding, but not free.
    """

    def __init__(self, name: str, rows: TfdsDirectory, reader: Source, limit: int):
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all images) or more, not {limit}")
        self.name, self.vocabulary, self.annotations = name, reader.vocabulary, reader.annotations
        self.evaluation_only, self.overlapping = reader.evaluation_only, reader.overlapping
        self._rows, self._reader = rows, reader
        self._length = min(limit or len(rows), len(rows))

    @property
    def reader(self) -> Source:
        return self._reader

    def __len__(self) -> int:
        return self._length

    def describe(self, index: int) -> str:
        try:
            return super().describe(index)
        except InputError:  # Of a damaged shard, which must not keep anyone from naming it.
            shard, place = self._rows.place(index)
            return f"{shard} ({self.name}, record {place})"

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return self._reader.decode_mask(content, file)

    def read_image(self, record: StoredRecord) -> np.ndarray:
        return decode_rgb(record.image_content, record.image)

    def read_mask(self, record: StoredRecord) -> np.ndarray | None:
        return self.decode_mask(record.mask_content, record.mask) if record.mask else None

    def build(self, record: StoredRecord, image: np.ndarray, mask: np.ndarray | None) -> Example:
        return self._reader.build(record, image, mask)
