"""What goes into which shard, and whether a folder holds the beginnings of the same dataset."""

import dataclasses
import hashlib
import json
import os
import shutil
from typing import Any

import numpy as np

from data.prepare.describe import METADATA, SCRATCH, file_name
from data.prepare.packing import stated
from data.readers.video.videos import VideoSource
from data.source import Record, Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import json_object

PLAN = "plan.json"  # Lies in the folder until the dataset is complete.
_MARGIN = 1.01  # ours: ArrayRecord adds headers and an index; measured: under 1%.
_SMALLEST = 65536  # Bytes of an ArrayRecord file with almost nothing in it.


@dataclasses.dataclass(frozen=True)
class Plan:
    """The shards of a dataset.

    Attributes:
      name, split: what its files are called.
      metadata: describes the dataset as a whole.
      offsets: shard k holds the images offsets[k] .. offsets[k + 1] - 1.
      sizes: bytes of the files that go into each shard.
      fingerprint: a digest of all records, all file sizes and everything above.
    """

    name: str
    split: str
    metadata: dict[str, Any]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def lengths(self) -> list[int]:
        """Number of images of each shard."""
        return np.diff(self.offsets).tolist()

    def images(self, shard: int) -> range:
        """Indices of the images of a shard."""
        return range(self.offsets[shard], self.offsets[shard + 1])

    def path(self, folder: str, shard: int) -> str:
        return os.path.join(folder, file_name(self.name, self.split, shard, len(self)))


def make_plan(source: Source, metadata: dict[str, Any], root: str, split: str, shard_bytes: int) -> Plan:
    """Distributes images over shards, from their records and the sizes of their files; opens no image.

    Raises:
      InputError: a file is missing, or the dataset holds videos.
    """
    if isinstance(source, VideoSource):
        raise InputError(
            f"{source.name}: {source.annotations} holds videos, and prepared data would hold one image of each; videos "
            "are read where they are"
        )
    digest = hashlib.sha256(json.dumps([metadata, split], sort_keys=True).encode())
    offsets, sizes = [0], [0]
    for index in range(len(source)):
        record = source.record(index)
        files = [_size(path) for path in (record.image, record.mask) if path]
        _feed(digest, record, root, files)
        if sizes[-1] and sizes[-1] + sum(files) > shard_bytes:
            offsets.append(index)
            sizes.append(0)
        sizes[-1] += sum(files)
    offsets.append(len(source))
    digest.update(str(offsets).encode())
    return Plan(source.name, split, metadata, tuple(offsets), tuple(sizes), digest.hexdigest())


def enter(folder: str, plan: Plan) -> bool:
    """Whether `folder` holds this very dataset already, in part or as a whole; False if it is empty or missing.

    Raises:
      InputError: it holds something else.
    """
    if not os.path.exists(folder):
        return False
    if not [entry for entry in os.listdir(folder) if not entry.startswith(".") and entry != PLAN + SCRATCH]:
        return False
    for file in (METADATA, PLAN):
        path = os.path.join(folder, file)
        if os.path.exists(path):
            if _fingerprint(path) == plan.fingerprint:
                return True
            raise InputError(
                f"{folder}: holds a dataset that was prepared from other files, or with other options; delete it, or "
                f"give another --out"
            )
    raise InputError(f"{folder}: is not empty, and was not written by data.prepare; give another --out")


def require_space(folder: str, plan: Plan, shards: list[int]) -> None:
    """Raises InputError if the disk has no room for `shards`."""
    needed = sum(max(_SMALLEST, int(plan.sizes[shard] * _MARGIN)) for shard in shards)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(f"{folder}: {needed / 1e9:.1f} GB are needed, but only {free / 1e9:.1f} GB are free there")


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _feed(digest, record: Record, root: str, files: list[int]) -> None:
    values = stated(record, root)
    columns = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in values.items() if key not in columns}
    digest.update(json.dumps([rest, files]).encode())
    for column in columns.values():
        digest.update(str(column.shape).encode() + np.ascontiguousarray(column).tobytes())


def _fingerprint(path: str) -> str:
    try:
        return json_object(path, "plan of data.prepare")["fingerprint"]
    except (InputError, KeyError) as error:
        raise InputError(
            f"{path}: is damaged or was not written by data.prepare; delete the folder or give another --out"
        ) from error
