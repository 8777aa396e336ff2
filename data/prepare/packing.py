"""How a record is stored in ArrayRecord: what its files state, and the bytes of its image and mask files."""

import dataclasses
import functools
import json
import os
from typing import Any

import numpy as np

from data.packed.embedded_files import EmbeddedRecord
from data.source import Record, Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import require_size
from dataseg_jax.io.untrusted import parse_json

VERSION = 1  # Of what is stored; a reader refuses others.


@functools.cache
def features() -> Any:
    """The features of a stored record: `tfds.features.FeaturesDict`.

    The mask is bytes, not an `Image`: it may be absent, and TFDS would turn the palette of a label PNG into colours.
    Boxes are bytes inside, since a tf.train.Example has no 64-bit floats.
    """
    import tensorflow_datasets as tfds

    f = tfds.features
    return f.FeaturesDict(
        {
            "image": f.Image(shape=(None, None, 3), doc="the image's file as it was"),
            "image/filename": f.Text(),
            "image/id": f.Scalar(np.int64),
            "image/size": f.Tensor(shape=(2,), dtype=np.int64, doc="height and width as stated; 0 if not stated"),
            "mask": f.Tensor(shape=(), dtype=np.bytes_, doc="the mask's file as it was; empty if there is none"),
            "mask/filename": f.Text(),
            "segment_ids": f.Tensor(shape=(None,), dtype=np.int64),
            "categories": f.Tensor(shape=(None,), dtype=np.int64, doc="ids of metadata.json's vocabulary"),
            "crowd": f.Tensor(shape=(None,), dtype=np.bool_),
            "boxes": f.Tensor(shape=(None, 4), dtype=np.float64, encoding="bytes", doc="x, y, width, height in pixels"),
            "more": f.Text(doc="JSON: the other fields of data.source.Record, such as COCO segmentations"),
        }
    )


def pack(record: Record, root: str, contents: dict[str, bytes]) -> dict[str, Any]:
    """A record with the `contents` of its files."""
    return stated(record, root) | contents


def contents(source: Source, record: Record) -> dict[str, bytes]:
    """The content of the files of a record, which are copied as they are.

    Raises:
      InputError: a file cannot be read, lies outside of the folder of its kind, or is by its header no image, or none
        of the size that is stated. Pixels are decoded by the check before, not here.
    """
    image, mask = source.image_bytes(record), source.mask_bytes(record)
    size = require_size(image, record.image, source.limits)
    # Of images with a mask the mask counts. EXIF may turn an image, so its sides may be exchanged.
    if not record.mask and any(record.size) and sorted(size) != sorted(record.size):
        height, width = record.size
        raise InputError(
            f"{source.annotations}: {record.where}: the file states {width}x{height}, but the image {record.image} is "
            f"{size[1]}x{size[0]} (width x height)"
        )
    if record.mask:
        source.check_mask(mask, record.mask)
    return {"image": image, "mask": mask}


def stated(record: Record, root: str) -> dict[str, Any]:
    """A record without the content of its files, whose names become relative to `root`."""
    return {
        "image/filename": relative(record.image, root),
        "image/id": record.image_id,
        "image/size": record.size,
        "mask/filename": relative(record.mask, root),
        "segment_ids": record.segment_ids,
        "categories": record.categories,
        "crowd": record.crowd,
        "boxes": record.boxes,
        "more": json.dumps({field: _as_json(getattr(record, field)) for field in _more()}),
    }


def unpack(values: dict[str, Any]) -> EmbeddedRecord:
    """The inverse of `pack`; `values` as TFDS reads them."""
    height, width = values["image/size"].tolist()
    columns = [values[key] for key in ("segment_ids", "categories", "crowd", "boxes")]
    if len({len(column) for column in columns}) > 1:
        raise InputError(f"its columns have different lengths: {', '.join(str(len(column)) for column in columns)}")
    return EmbeddedRecord(
        image_id=int(values["image/id"]),
        image=values["image/filename"].decode(),
        mask=values["mask/filename"].decode(),
        size=(height, width),
        segment_ids=values["segment_ids"],
        categories=values["categories"],
        crowd=values["crowd"],
        boxes=values["boxes"],
        image_content=values["image"],
        mask_content=values["mask"],
        **{field: _restored(value) for field, value in parse_json(values["more"], "its feature more").items()},
    )


def _more() -> list[str]:
    """The fields of a record that have no feature of their own."""
    own = ("image_id", "image", "mask", "size", "segment_ids", "categories", "crowd", "boxes")
    return [field.name for field in dataclasses.fields(Record) if field.name not in own]


def _as_json(value: Any) -> Any:
    return {"dtype": str(value.dtype), "values": value.tolist()} if isinstance(value, np.ndarray) else value


def _restored(value: Any) -> Any:
    """The inverse of `_as_json`: a record has tuples where JSON has lists, but for what COCO calls a segmentation."""
    if isinstance(value, dict):
        return np.array(value["values"], value["dtype"])
    if not isinstance(value, list):
        return value
    of_texts = all(isinstance(v, list) and all(isinstance(text, str) for text in v) for v in value)
    return tuple(map(tuple, value) if of_texts else value)


def describe(source: Source, format: str, root: str) -> dict[str, Any]:
    """What metadata.json says about the dataset as a whole; can be written as JSON."""
    return {
        "version": VERSION,
        "format": format,
        "name": source.name,
        "annotations": relative(source.annotations, root),
        "settings": {key: getattr(source, key) for key in source.settings},
        "vocabulary": dataclasses.asdict(source.vocabulary),
    }


def relative(path: str, root: str) -> str:
    """The path below `root`, so that nothing depends on where the files lay; others stay as they are."""
    inside = os.path.relpath(path, root) if path else ""
    return path if inside.startswith("..") else inside
