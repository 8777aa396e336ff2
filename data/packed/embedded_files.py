"""Images whose files are embedded in the records of a few large files, instead of lying in folders.

Both `Prepared` (what data.prepare wrote) and `TfdsSource` (what TFDS wrote) read such data.
"""

import dataclasses

import numpy as np

from data.example import Example
from data.packed.tfds_directory import TfdsDirectory
from data.source import Record, Source
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedRecord(Record):
    """A record that holds the bytes of its image and mask files; `image` and `mask` are names for messages only.

    Attributes:
      image_content: the image file.
      mask_content: the mask file, b"" where there is none.
    """

    image_content: bytes = b""
    mask_content: bytes = b""


class EmbeddedSource(Source):
    """Images from a TFDS directory. The reader of their original layout decodes masks and builds examples.

    A subclass defines `record`. Unlike with other sources, `record(index)` reads the image's bytes from the disk.

    Args:
      name: what to call the dataset.
      rows: the directory.
      reader: a source of the original layout, made by `without_records`.
      limit: keep the first so many images, 0 = all.

    Raises:
      InputError: the limit is negative, or there is no image.
    """

    def __init__(self, name: str, rows: TfdsDirectory, reader: Source, limit: int):
        if limit < 0:
            raise InputError(f"{name}: limit must be 0 (all images) or more, not {limit}")
        if not len(rows):
            raise InputError(f"{name}: {rows.root} holds no image; its description states 0 records")
        self.name, self.vocabulary, self.annotations = name, reader.vocabulary, reader.annotations
        self.evaluation_only, self.overlapping = reader.evaluation_only, reader.overlapping
        self.image_counts = reader.image_counts
        self.phrased = reader.phrased
        self._rows, self._reader = rows, reader
        self._length = min(limit or len(rows), len(rows))

    @property
    def reader(self) -> Source:
        return self._reader

    def storage(self) -> tuple[str, ...]:
        return tuple(self._rows.files())

    def __len__(self) -> int:
        return self._length

    def describe(self, index: int) -> str:
        try:
            return super().describe(index)
        except InputError:  # The shard is damaged, and the message about it needs a name for the image.
            shard, place = self._rows.place(index)
            return f"{shard} ({self.name}, record {place})"

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return self._reader.decode_mask(content, file)

    def image_bytes(self, record: EmbeddedRecord) -> bytes:
        return record.image_content

    def mask_bytes(self, record: EmbeddedRecord) -> bytes:
        return record.mask_content

    def build(self, record: EmbeddedRecord, image: np.ndarray, mask: np.ndarray | None) -> Example:
        return self._reader.build(record, image, mask)
