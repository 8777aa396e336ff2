"""The formats that can be read, by name."""

import dataclasses
import inspect
import os

from data.packed.prepared import Prepared, prepared_vocabulary
from data.packed.tfds_layouts import TfdsSource
from data.readers import LAYOUTS
from data.readers.files import exists
from data.source import Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import LIMITS, Limits
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.text import load_vocabulary, parse_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

FORMATS = LAYOUTS | {"array_record": Prepared, "tfds": TfdsSource}
# Where a dataset may name its own categories; the first of these that exists.
NAMES_FILES = ("classes.json", "classes.txt")


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
    label_offset: int = 0,
    limit: int = 0,
    limits: Limits = LIMITS,
) -> Source:
    """Opens a dataset for random access; annotation files are read, images are not yet.

    Prepared data (format array_record) needs no paths below its root: those of the original may stay in a config.

    Args:
      format: a key of `FORMATS`.
      root: folder of the dataset.
      vocabulary: its categories.
      name: what to call the dataset.
      images: folder of the images below `root`; "" = the format's usual place, "train2017|images" = the first of
        these that exists, as for the next three.
      annotations: the annotation file below `root`.
      masks: folder of the masks below `root`.
      split: file below `root` that lists the names to use; of formats tfds and referring the name of a split.
      label_offset: value in label PNGs minus id in the vocabulary.
      limit: keep the first so many images by image id, 0 = all.
      limits: what a file of an image or mask may have; above, it is not decoded.

    Raises:
      InputError: the format is unknown or does not use one of the options, a path is missing, an annotation file
        is malformed, or there is no image.
    """
    kind = _reader(name, format)
    if kind is Prepared:  # The paths are those of the original, and were followed when it was prepared.
        images = annotations = masks = split = ""
        label_offset = 0
    paths = {"images": images, "annotations": annotations, "masks": masks, "split": split}
    options = {key: _first_of(root, path) for key, path in paths.items() if path}
    if label_offset:
        options["label_offset"] = label_offset
    for key, value in options.items():
        if key not in inspect.signature(kind).parameters:
            raise InputError(f"{name}: format {format} has no {key}; leave it out (it is {value!r})")
    with boundary(f"{name}: {root}", "cannot be read"):
        source = kind(root, vocabulary, name=name, limit=limit, **options)
    source.limits = source.reader.limits = limits
    return source


def find_vocabulary(vocabulary: str, format: str, root: str, *, name: str, annotations: str = "") -> Vocabulary:
    """The categories of a dataset.

    Args:
      vocabulary: a bundled name or a path, as `load_vocabulary` takes it; or names separated by commas, with ids from
        0; "" = the dataset's own: one of `NAMES_FILES` in `root`, or else the list "categories" of its annotation file,
        what its format names (`own_vocabulary` of its reader), or what it was prepared with.
      format, root, name, annotations: as `open_source` takes them.

    Raises:
      InputError: as `load_vocabulary`, or the dataset names no categories.
    """
    if vocabulary:
        typed = "," in vocabulary and not vocabulary.endswith((".json", ".txt"))
        return parse_vocabulary(vocabulary, name) if typed else load_vocabulary(vocabulary)
    if _reader(name, format) is Prepared:
        return prepared_vocabulary(root, name=name)
    own = getattr(_reader(name, format), "own_vocabulary", None)
    usual = None if own else inspect.signature(_reader(name, format)).parameters.get("annotations")
    places = [os.path.join(root, file) for file in NAMES_FILES]
    if usual is not None:
        places.append(os.path.join(root, _first_of(root, annotations or usual.default)))
    for place in places:
        if os.path.exists(place) and not os.path.isdir(place):  # A format may have a folder of annotations.
            return dataclasses.replace(load_vocabulary(place), name=name)
    if own:
        with boundary(f"{name}: {root}", "cannot be read"):
            if found := own(root, name, _first_of(root, annotations)):
                return found
    raise InputError(
        f"{name}: no vocabulary is given, and none of {', '.join(places)} exists; give a bundled name or a names file, "
        "or write one name a line into classes.txt"
    )


def _reader(name: str, format: str) -> type[Source]:
    if format not in FORMATS:
        raise InputError(f"{name}: format {format!r} is unknown; it must be one of {', '.join(FORMATS)}")
    return FORMATS[format]


def _first_of(root: str, paths: str) -> str:
    """The first of "a|b" that exists below `root`; the first of all if none does, for the message."""
    places = paths.split("|")
    return next((place for place in places if exists(root, place)), places[0])
