"""Datasets that `data.prepare` wrote: the same examples as the original, read from a few large files."""

from data.packed.embedded_files import EmbeddedRecord, EmbeddedSource
from data.packed.tfds_directory import TfdsDirectory
from data.prepare.packing import VERSION, unpack
from data.readers import LAYOUTS
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text.vocabulary import Vocabulary, restore_vocabulary


class Prepared(EmbeddedSource):
    """A prepared dataset of any layout. Messages name image files by their paths below the original root.

    Args:
      root: the folder given to `data.prepare` as --out.
      vocabulary: None = the one it was prepared with; another must give the same names to the same ids,
        in the same order.
      name: what to call the dataset.
      limit: keep the first so many images by image id, 0 = all.

    Raises:
      InputError: the folder holds no prepared dataset, a shard is missing or has another size, or the vocabulary is not
        the one of the dataset.
    """

    def __init__(self, root: str, vocabulary: Vocabulary | None, *, name: str, limit: int = 0):
        rows = TfdsDirectory(root, name=name)
        metadata = rows.metadata
        if metadata.get("version") != VERSION or str(metadata.get("format")) not in LAYOUTS:
            raise InputError(
                f"{name}: {root} was not written by this version of data.prepare; prepare it again, or read what other "
                f"programs prepared as format tfds"
            )
        with boundary(f"{name}: {root}", "its metadata.json is damaged"):
            rows.require_sizes(metadata["shard_bytes"])
            stored = restore_vocabulary(metadata["vocabulary"], f"{name}: {root}: its metadata.json is damaged")
            if vocabulary is not None:
                _require_same_categories(name, root, stored, vocabulary)
            layout, annotations = LAYOUTS[metadata["format"]], f"{root} (from {metadata['annotations']})"
            reader = layout.without_records(name, vocabulary or stored, annotations, metadata["settings"])
        super().__init__(name, rows, reader, limit)

    def record(self, index: int) -> EmbeddedRecord:
        values = self._rows[index]
        with boundary(self.annotations, f"record {index} cannot be used, its shard is damaged"):
            return unpack(values)


def prepared_vocabulary(root: str, *, name: str) -> Vocabulary:
    """The categories that a dataset was prepared with. Raises InputError if the folder holds none."""
    return Prepared(root, None, name=name).vocabulary


def _require_same_categories(name: str, root: str, stored: Vocabulary, given: Vocabulary) -> None:
    name_here, name_there = (dict(zip(v.ids, v.names, strict=True)) for v in (given, stored))
    different = [key for key in (*name_there, *name_here) if name_here.get(key) != name_there.get(key)]
    if different:
        what = f"id {different[0]} is {name_there.get(different[0])!r} there and {name_here.get(different[0])!r} here"
    elif given.ids != stored.ids:
        what = "the order of the categories is another"
    elif set(given.ignore) != set(stored.ignore):
        what = f"void is {list(stored.ignore)} there and {list(given.ignore)} here"
    else:
        return
    raise InputError(
        f"{name}: {root} was prepared with vocabulary {stored.name}, and {given.name} does not agree: {what}"
    )
