"""The formats that can be read, by name."""

import inspect
import os

from data.readers.coco_boxes import CocoBoxes
from data.readers.coco_instances import CocoInstances
from data.readers.coco_panoptic import CocoPanoptic
from data.readers.label_png import LabelPng
from data.readers.lvis import Lvis
from data.readers.objects365 import Objects365Instances
from data.records import Source
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

FORMATS = {
    "coco_panoptic": CocoPanoptic,
    "label_png": LabelPng,
    "coco_boxes": CocoBoxes,
    "coco_instances": CocoInstances,
    "objects365_instances": Objects365Instances,
    "lvis": Lvis,
}


def open_source(
    format: str,
    root: str,
    vocabulary: Vocabulary,
    *,
    name: str,
    images: str = "",
    annotations: str = "",
    masks: str = "",
    limit: int = 0,
) -> Source:
    """Opens a dataset for random access; annotation files are read, pictures are not yet.

    Args:
      format: a key of `FORMATS`.
      root: folder of the dataset.
      vocabulary: its categories.
      name: what to call the dataset.
      images: folder of the pictures below `root`; "" = the format's usual place, "train2017|images" = the first of
        these that exists, as for the next two.
      annotations: the annotation file below `root`.
      masks: folder of the masks below `root`.
      limit: keep the first so many pictures by image id, 0 = all.

    Raises:
      InputError: the format is unknown or does not use one of the paths, a path is missing, an annotation file
        is malformed, or there is no picture.
    """
    if format not in FORMATS:
        raise InputError(f"{name}: format {format!r} is unknown; it must be one of {', '.join(FORMATS)}")
    kind = FORMATS[format]
    given = (("images", images), ("annotations", annotations), ("masks", masks))
    paths = {key: _first_of(root, path) for key, path in given if path}
    for key, path in paths.items():
        if key not in inspect.signature(kind).parameters:
            raise InputError(f"{name}: format {format} has no {key}; leave it out (it is {path!r})")
    return kind(root, vocabulary, name=name, limit=limit, **paths)


def _first_of(root: str, paths: str) -> str:
    """The first of "a|b" that exists below `root`; the first of all if none does, for the message."""
    places = paths.split("|")
    return next((path for path in places if os.path.exists(os.path.join(root, path))), places[0])
