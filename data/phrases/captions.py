"""Captions of objects that a captioner wrote into a JSON, up to five an object (MQ-Former 3.4)."""

from typing import Any

from data.readers.coco.json_stream import stream
from data.source import Record, Source
from dataseg_jax.errors import InputError, one_line
from dataseg_jax.io.untrusted import read_json, spell

IDS = ("annotation_id", "segment_id")
_LONGEST = 1000  # Characters of a caption; ours: text encoders read a fraction of it.


class Captions:
    """The captions of a file, by the image's and the object's own id.

    Args:
      file: a list of {"image_id", "annotation_id" or "segment_id", "captions": [text, ...]}.

    Attributes:
      unused: those that `of` has not returned yet.

    Raises:
      InputError: it is something else, or an object is listed twice.
    """

    def __init__(self, file: str):
        records = read_json(file)
        if not isinstance(records, list):
            raise InputError(f"{file}: captions are a list of records, this is {spell(records)}")
        self.file = file
        self.unused: dict[tuple[Any, int], list[str]] = {}
        for number, record in enumerate(records):
            where = f"{file}: record number {number}"
            key = _key(where, record)
            if key in self.unused:
                raise InputError(f"{where}: object {key[1]} of image {spell(key[0])} is listed twice")
            self.unused[key] = _texts(where, record.get("captions"))

    def of(self, image: int | str, own: int | None) -> list[str]:
        """The captions of one object, [] if it has none."""
        return self.unused.pop((image, own), [])


class OwnIds:
    """The ids that the files themselves give to the targets of a record: of segments, or of annotations."""

    def __init__(self, source: Source, panoptic: bool):
        self._of_image: dict[int, list[int | None]] | None = None
        if not panoptic:  # Records do without the ids of annotations.
            self._of_image = {}
            stream(source.annotations, {"images": lambda *_: None, "annotations": self._add})

    def _add(self, number: int, entry: Any, text: str) -> None:
        own = entry.get("id")
        self._of_image.setdefault(entry["image_id"], []).append(own if type(own) is int else None)

    def of(self, record: Record) -> list[int | None]:
        """One id a target; None where the file has none."""
        return record.segment_ids.tolist() if self._of_image is None else self._of_image.get(record.image_id, [])


def _key(where: str, record: Any) -> tuple[int | str, int]:
    if not isinstance(record, dict):
        raise InputError(f"{where}: is {spell(record)}, not an object")
    image, own = record.get("image_id"), next((record[key] for key in IDS if key in record), None)
    if type(image) not in (int, str):
        raise InputError(f"{where}: image_id {spell(image)} must be a number or a text")
    if type(own) is not int:
        raise InputError(f"{where}: {' or '.join(IDS)} {spell(own)} must be a whole number")
    return image, own


def _texts(where: str, captions: Any) -> list[str]:
    """Captions with single blanks, each once."""
    if not isinstance(captions, list) or not captions:
        raise InputError(f"{where}: captions {spell(captions)} must be a list of one text or more")
    texts = []
    for caption in captions:
        if type(caption) is not str or not caption.strip() or len(caption) > _LONGEST:
            raise InputError(f"{where}: caption {spell(caption)} must be a text of 1 to {_LONGEST} characters")
        text = " ".join(caption.split())
        if text != one_line(text):
            raise InputError(f"{where}: caption {spell(caption)} holds characters that cannot be printed")
        texts.append(text)
    return list(dict.fromkeys(texts))
