"""Single shards: written, or found to be in order."""

import os
from collections.abc import Sequence

from data.prepare.describe import SCRATCH, publish
from data.prepare.packing import features, pack, unpack
from data.source import Source
from dataseg_jax.errors import InputError, first_line

_OPTIONS = "group_size:1"  # One record a chunk, as TFDS writes: what random access needs.
_READ = "readahead_buffer_size:0"


def write_shard(source: Source, root: str, records: Sequence[int], size: int, path: str) -> None:
    """Writes the records, of `size` bytes of files, under a scratch name; renames it when it is on the disk.

    Raises:
      InputError: a file of the dataset cannot be read or has changed since its size was taken, or the disk is full.
    """
    from array_record.python import array_record_module
    from tensorflow_datasets.proto import tf_example_pb2

    scratch = f"{path}.{os.getpid()}{SCRATCH}"
    try:
        writer = array_record_module.ArrayRecordWriter(scratch, _OPTIONS)
        try:
            for index in records:
                values = pack(source.record(index), root)
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


def is_complete(source: Source, records: Sequence[int], path: str, size: int | None) -> bool:
    """Whether a shard is there, has as many bytes (if known) and records, and begins and ends with the right ones."""
    if not os.path.exists(path) or size not in (None, os.path.getsize(path)):
        return False
    ends = (0, len(records) - 1)
    try:
        found = _image_ids(path, len(records), ends)
    except (RuntimeError, ValueError, IndexError, OSError):  # What array_record raises on a file that is cut.
        return False
    return found == [source.record(records[end]).image_id for end in ends]


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
