"""Writes single shards, and checks those that exist."""

import os
from collections.abc import Sequence

from data.prepare.describe import SCRATCH, publish
from data.prepare.packing import contents, features, pack, unpack
from data.source import Source
from dataseg_jax.errors import InputError, first_line

_OPTIONS = "group_size:1"  # One record per chunk, as TFDS writes: random access needs it.
_READ = "readahead_buffer_size:0"


def write_shard(source: Source, root: str, images: Sequence[int], size: int, path: str) -> None:
    """Writes the records of images under a scratch name; renames the file when it is on the disk.

    Args:
      source, root: the dataset and its folder.
      images: indices in `source`.
      size: bytes of their image and mask files.
      path: the shard.

    Raises:
      InputError: a file of the dataset cannot be read or has changed since its size was taken, or the disk is full.
    """
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    scratch = f"{path}.{os.getpid()}{SCRATCH}"
    try:
        writer = array_record_module.ArrayRecordWriter(scratch, _OPTIONS)
        try:
            for index in images:
                record = source.record(index)
                values = pack(record, root, contents(source, record))
                size -= len(values["image"]) + len(values["mask"])
                packed = features().serialize_example(values)
                # TFDS leaves the order of the features to chance.
                writer.write(tf_example_pb2.Example.FromString(packed).SerializeToString(deterministic=True))
        finally:
            writer.close()
        if size:
            raise InputError(f"{root}: files changed in size while {path} was written; start again in an empty folder")
        publish(scratch, path)
    except (OSError, RuntimeError) as error:
        rule = f"cannot be written ({first_line(error)}); finished shards are kept"
        raise InputError(f"{path}: {rule}") from error
    finally:
        if os.path.exists(scratch):
            os.remove(scratch)


def is_complete(source: Source, images: Sequence[int], path: str, size: int | None) -> bool:
    """Whether a shard exists, with the right size in bytes (if known), image count, first and last image."""
    if not os.path.exists(path) or size not in (None, os.path.getsize(path)):
        return False
    ends = (0, len(images) - 1)
    try:
        found = _image_ids(path, len(images), ends)
    except (RuntimeError, ValueError, IndexError, OSError):  # What array_record raises on a file that is cut.
        return False
    return found == [source.record(images[end]).image_id for end in ends]


def _image_ids(path: str, length: int, places: Sequence[int]) -> list[int]:
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    reader = array_record_module.ArrayRecordReader(path, _READ)
    try:
        if reader.num_records() != length:
            return []
        raw = {"image": tfds.decode.SkipDecoding()}
        rows = reader.read(list(places))
        return [unpack(features().deserialize_example_np(row, decoders=raw)).image_id for row in rows]
    finally:
        reader.close()
