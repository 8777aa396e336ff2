"""The formats that can be read, by name."""

import inspect
import os

from data.prepared import Prepared
from data.readers import LAYOUTS
from data.records import Source
from data.tfds_layouts import TfdsSource
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

FORMATS = LAYOUTS | {"array_record": Prepared, "tfds": TfdsSource}


def open_source(
    format: str,
    root: str,
    vocabulary: Vocabulary,
    *,
    name: str,
    images: str = "",
    annotations: str = "",
    masks: str = "",
    split: str = "",
    limit: int = 0,
) -> Source:
    """Opens a dataset for random access; annotation files are read, pictures are not yet.

    Prepared data (format array_record) needs no paths below its root: those of the original may stay in a config.

    Args:
      format: a key of `FORMATS`.
      root: folder of the dataset.
      vocabulary: its categories.
      name: what to call the dataset.
      images: folder of the pictures below `root`; "" = the format's usual place, "train2017|images" = the first of
        these that exists, as for the next two.
      annotations: the annotation file below `root`.
      masks: folder of the masks below `root`.
      split: which split, of the format tfds; "" = the only one.
      limit: keep the first so many pictures by image id, 0 = all.

    Raises:
      InputError: the format is unknown or has no such path or split, a path is missing, an annotation file
        is malformed, or there is no picture.
    """
    if format not in FORMATS:
        raise InputError(f"{name}: format {format!r} is unknown; it must be one of {', '.join(FORMATS)}")
    kind = FORMATS[format]
    given = (("images", images), ("annotations", annotations), ("masks", masks))
    where = {key: _first_of(root, path) for key, path in given if path} | ({"split": split} if split else {})
    if kind is Prepared:  # The paths are those of the original, and were followed when it was prepared.
        where = {}
    for key, value in where.items():
        if key not in inspect.signature(kind).parameters:
            raise InputError(f"{name}: format {format} has no {key}; leave it out (it is {value!r})")
    return kind(root, vocabulary, name=name, limit=limit, **where)


def _first_of(root: str, paths: str) -> str:
    """The first of "a|b" that exists below `root`; the first of all if none does, for the message."""
    places = paths.split("|")
    return next((path for path in places if os.path.exists(os.path.join(root, path))), places[0])
