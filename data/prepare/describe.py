"""The files that make shards a dataset of TFDS: features.json, metadata.json and, as the last, dataset_info.json."""

import json
import os
import shutil
from typing import Any

from data.prepare.packing import features
from dataseg_jax.io.whole_files import publish, write_whole

METADATA = "metadata.json"
INFO = "dataset_info.json"
SCRATCH = ".part"  # How the names of unfinished files end.
_UNFINISHED = ".description"  # A folder; its files move out when all are written.


def file_name(name: str, split: str, shard: int, shards: int) -> str:
    """What TFDS calls a shard."""
    return f"{name}-{split}.array_record-{shard:05d}-of-{shards:05d}"


def write_description(
    folder: str, name: str, split: str, lengths: list[int], metadata: dict[str, Any], licence: str
) -> None:
    """Describes the shards in `folder`. dataset_info.json is written last: where it is, everything is."""
    import tensorflow_datasets as tfds

    core = tfds.core
    template = core.ShardedFileTemplate(data_dir=folder, dataset_name=name, split=split, filetype_suffix="array_record")
    size = sum(metadata["shard_bytes"])
    info = core.DatasetInfo(
        builder=core.DatasetIdentity(
            name=name, version=core.Version("1.0.0"), data_dir=folder, module_name="data.prepare"
        ),
        description=f"{metadata['format']}, prepared by dataseg_jax from {metadata['annotations']}",
        features=features(),
        disable_shuffling=True,  # The order is that of the original.
        metadata=core.MetadataDict(metadata),
        license=licence or None,
        split_dict=core.SplitDict(
            [core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template)]
        ),
    )
    info.set_file_format("array_record")
    scratch = os.path.join(folder, _UNFINISHED)
    shutil.rmtree(scratch, ignore_errors=True)
    os.mkdir(scratch)
    info.write_to_directory(scratch)
    for file in sorted(os.listdir(scratch), key=lambda file: file == INFO):
        publish(os.path.join(scratch, file), os.path.join(folder, file))
    os.rmdir(scratch)


def write_json(path: str, content: dict[str, Any]) -> None:
    """Writes a file that is either complete or absent."""
    write_whole(path, json.dumps(content))
