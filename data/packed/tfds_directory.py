"""Directories that TensorFlow Datasets wrote, read by index and without TensorFlow."""

import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.packages import require
from dataseg_jax.io.untrusted import boundary, read_json, require_inside, spell

_CLASSES = "tensorflow_datasets.core.features."  # Where the features live that are looked up by name.

# TFDS imports its parts when they are first used, and two threads that do so at once can wait for each other for ever.
_OPENING = threading.Lock()


class TfdsDirectory:
    """One split, in the order in which it was written; images come as the bytes of their files.

    Shards are opened when they are first read, in each process anew: what is pickled is a path.

    Attributes:
      features: the features of a record, as `tfds.features.FeaturesDict`.
      metadata: the content of metadata.json; empty where there is none.
      shards: paths of the files.

    Args:
      root: the directory that holds dataset_info.json.
      name: what to call the dataset in messages.
      split: its split; "" = the only one.

    Raises:
      InputError: there is no such directory, split or shard, or it is no ArrayRecord.
    """

    def __init__(self, root: str, *, name: str, split: str = ""):
        self.root, self._name = root, name
        with boundary(f"{name}: {root}", "cannot be opened by TFDS"):
            self._describe(split)
        self._opened = None

    def _describe(self, split: str) -> None:
        name, root = self._name, self.root
        builder = self._builder()
        splits = builder.info.splits
        if not split and len(splits) != 1:
            raise InputError(f"{name}: {root} holds the splits {', '.join(splits)}; give one as split")
        self.split = split or next(iter(splits))
        if self.split not in splits:
            raise InputError(f"{name}: {root} has no split {self.split!r}; it holds {', '.join(splits)}")
        self.features, self.metadata = builder.info.features, dict(builder.info.metadata or {})
        self.shards = [str(path) for path in splits[self.split].filepaths]
        self._lengths = list(splits[self.split].shard_lengths)
        for shard, length in zip(self.shards, self._lengths, strict=True):
            if not os.path.exists(shard):
                raise InputError(f"{name}: shard {shard} does not exist")
            require_inside(shard, root)
            if not 0 <= length <= os.path.getsize(shard):  # Of records, none of which is empty.
                raise InputError(f"{name}: shard {shard} is said to hold {length} records, and is too small for them")

    def __len__(self) -> int:
        return sum(self._lengths)

    def files(self) -> list[str]:
        """Paths of the shards, and of what describes them."""
        described = (entry.path for entry in os.scandir(self.root) if entry.name.endswith(".json"))
        return sorted({*self.shards, *described})

    def require_sizes(self, sizes: Sequence[int]) -> None:
        """Raises InputError naming the first shard whose file has another size in bytes."""
        for shard, size in zip(self.shards, sizes, strict=True):
            found = os.path.getsize(shard)
            if found != size:
                raise InputError(f"{self._name}: shard {shard} has {found} bytes and should have {size}; it is damaged")

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads record `index`. Raises InputError naming the shard if it is damaged."""
        if self._opened is None:
            with _OPENING:
                self._opened = self._opened or self._open()
        parse, rows = self._opened
        try:
            return parse(rows[index])
        except Exception as error:  # What array_record and protobuf raise on altered files has no common class.
            shard, place = self.place(index)
            raise InputError(
                f"{shard}: record {place} cannot be read, the shard is damaged ({first_line(error)})"
            ) from error

    def place(self, index: int) -> tuple[str, int]:
        """The shard of record `index`, and its number there."""
        for shard, length in zip(self.shards, self._lengths, strict=True):
            if index < length:
                return shard, index
            index -= length
        raise IndexError(index)

    def _builder(self):
        require(f"{self._name}: a dataset in the form of TFDS", "data", "tensorflow_datasets", "array_record")
        import tensorflow_datasets as tfds  # Half a second, and few programs read such data.

        if not os.path.exists(os.path.join(self.root, "dataset_info.json")):
            raise InputError(f"{self._name}: {self.root} is no directory of a prepared dataset: no dataset_info.json")
        _require_known_features(os.path.join(self.root, "features.json"))
        try:
            builder = tfds.builder_from_directory(self.root)
        except Exception as error:  # Of TFDS and protobuf alike; for damaged files they share no class.
            raise InputError(f"{self._name}: {self.root} cannot be opened by TFDS ({first_line(error)})") from error
        if builder.info.file_format is None or builder.info.file_format.value != "array_record":
            kind = builder.info.file_format.value if builder.info.file_format else "unknown"
            raise InputError(
                f"{self._name}: {self.root} is of file format {kind}, which has no random access without TensorFlow; "
                f'prepare it with file_format="array_record"'
            )
        return builder

    def _open(self):
        import tensorflow_datasets as tfds

        builder, raw = self._builder(), tfds.decode.DeserializeMethod.RAW_BYTES
        return _parser(builder.info.features), builder.as_data_source(self.split, deserialize_method=raw)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None, "features": None, "metadata": None}


def _require_known_features(path: str) -> None:
    """Refuses features that TFDS would import from elsewhere: it runs whatever module a file names.

    Raises:
      InputError: a feature is none of TFDS' own, or the file is no JSON.
    """
    if not os.path.exists(path):
        return
    left = [read_json(path)]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key in ("pythonClassName", "python_class_name", "type"):
                kind = value.get(key)
                if isinstance(kind, str) and "." in kind and not kind.startswith(_CLASSES):
                    raise InputError(f"{path}: feature {spell(kind)} is none of TFDS' own ({_CLASSES}...)")
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value


def _parser(features) -> Callable[[bytes], dict[str, Any]]:
    """Reads a serialised example; images stay bytes. Those within sequences are left out: there they cannot."""
    import tensorflow_datasets as tfds

    image, sequence = tfds.features.Image, tfds.features.Sequence
    kept: dict[str, Any] = {}
    for key, feature in features.items():
        inner = feature.feature if isinstance(feature, sequence) else None
        within = inner.items() if isinstance(inner, tfds.features.FeaturesDict) else ()
        if any(isinstance(part, image) for _, part in within):
            kept[key] = sequence({name: part for name, part in within if not isinstance(part, image)})
        elif not isinstance(inner, image):
            kept[key] = feature
    if any(kept.get(key) is not feature for key, feature in features.items()):
        features = tfds.features.FeaturesDict(kept)  # tfds.decode.PartialDecoding would do, but needs TensorFlow.
    decoders = {key: tfds.decode.SkipDecoding() for key, feature in kept.items() if isinstance(feature, image)}
    return functools.partial(features.deserialize_example_np, decoders=decoders)
