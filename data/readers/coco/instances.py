"""Images whose masks are in a COCO-style JSON, as polygons or RLE: COCO instances, and most tools' export."""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline.masks import Masks
from data.readers import segmentations
from data.readers.coco import entries
from data.readers.coco.boxes import clipped
from data.readers.coco.json_stream import stream
from data.readers.table import Image, Images, Rows, Table
from data.source import Record, Source, category_indices, require_path, require_stated_size
from dataseg_jax.errors import InputError
from dataseg_jax.text.vocabulary import Vocabulary

_NEEDS = "image_id, category_id and a segmentation"


class CocoInstances(Source):
    """Images with a mask for every object; masks may overlap.

    Crowd masks are void except where a target lies. A mask without a pixel is no target. Boxes are measured on the
    masks; the boxes in the file are used for scoring only.

    Attributes:
      may_lack_masks: whether an annotation without a mask (or with one of no pixel) is legal; its box is then void
        except where a target lies, for the object is somewhere in it.

    Args:
      root: folder of the dataset.
      vocabulary: its `ids` are the category ids of the JSON.
      name: what to call the dataset.
      images: folder of the images below `root`.
      annotations: the JSON file below `root`.
      limit: keep the first so many images by image id, 0 = all.

    Raises:
      InputError: a path is missing, the JSON is malformed, or it lists no image.
    """

    overlapping = True
    may_lack_masks = False

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        annotations: str = "instances.json",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.annotations = require_path(name, os.path.join(root, annotations), "annotation file")
        self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        self._table = read_table(self.annotations, vocabulary, limit, self.read_entry, self.image_folder)
        self.defects = self._table.defects

    def read_entry(self, number: int, entry: Any) -> Image:
        """Entry `number` of the list "images". Raises InputError."""
        return entries.load_image(self.annotations, number, entry)

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        return self._table.record(index)

    def build(self, record: Record, image: np.ndarray, mask: None) -> Example:
        require_stated_size(record, image, self.annotations)
        height, width = image.shape[:2]
        codes = encode_shapes(record, height, width, self.annotations, self.may_lack_masks)
        target = [i for i, code in enumerate(codes) if code and not record.crowd[i] and segmentations.area(code)]
        labels = category_indices(self, record, record.categories[target])
        masks = Masks.whole((codes[i] for i in target), (height, width))
        segments = np.full((height, width), NO_TARGET, np.int32)
        for i, code in enumerate(codes):
            if code is None:
                left, top, right, bottom = clipped(record.boxes[i : i + 1], height, width)[0]
                segments[int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = VOID
        crowds = [code for code, crowd in zip(codes, record.crowd, strict=True) if crowd and code]
        if crowds:
            segments[segmentations.decode_union(crowds) != 0] = VOID
        if target and (segments == VOID).any():
            segments[segmentations.decode_union(masks.codes) != 0] = NO_TARGET
        return Example(image, record.image_id, record.image, labels, masks.boxes.astype(np.float32), segments, masks)


def read_table(
    file: str,
    vocabulary: Vocabulary,
    limit: int = 0,
    read_entry: Callable[[int, Any], Image] | None = None,
    image_folder: str = "",
) -> Table:
    """Reads a JSON whose annotations have segmentations; these are kept as text and looked at image by image.

    Args:
      file: the JSON.
      vocabulary: must not call most of its categories something else.
      limit: keep the first so many images by image id, 0 = all.
      read_entry: makes of an entry of the list "images", given its number, an image that is to be found below
        `image_folder`. None: images are not needed, and are left out of the records.

    Raises:
      InputError: the JSON is malformed, or it lists no image.
    """
    rows, images = Rows(), Images()

    def add_image(number: int, entry: Any, _: str) -> None:
        if read_entry:
            images.append(read_entry(number, entry))
        else:
            images.append(entries.load_image(file, number, entry, key=""))

    def add_target(number: int, entry: Any, text: str) -> None:
        try:
            rows.append_entry(entry, entry.get("bbox") or (0, 0, 0, 0), text)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise entries.malformed(file, "annotation", number, _NEEDS, error) from error

    content = stream(file, {"images": add_image, "annotations": add_target})
    entries.require_same_names(file, content, vocabulary)
    if not read_entry:
        return Table(file, limit, images, rows)
    table = Table(file, limit, images, rows, entries.locate(file, images, image_folder))
    table.listed = content.get("categories")
    return table


def encode_shapes(
    record: Record, height: int, width: int, file: str, may_lack_masks: bool = False
) -> list[dict[str, Any] | None]:
    """The masks of a record as compressed RLE {"size", "counts"}, checked against the size of the image.

    Returns:
      One a target; None, if that is legal, for a target without a mask or with one of no pixel.

    Raises:
      InputError: naming the file, the record and the first rule that a mask breaks.
    """
    codes = []
    for code, rule in _encoded(record, height, width, may_lack_masks):
        if rule:
            raise InputError(f"{file}: {record.where}: {rule}")
        codes.append(code)
    return codes


def shape_rules(record: Record, height: int, width: int, may_lack_masks: bool = False) -> Iterator[str]:
    """What to say about the masks of a record that are wrong, one line each."""
    return (rule for _, rule in _encoded(record, height, width, may_lack_masks) if rule)


def _encoded(record: Record, height: int, width: int, may_lack_masks: bool) -> Iterator[tuple[dict | None, str]]:
    for number, shape in enumerate(record.shapes):
        try:
            code = segmentations.encode(shape, height, width) if shape or not may_lack_masks else None
            yield (None if code and may_lack_masks and not segmentations.area(code) else code), ""
        except InputError as error:
            yield None, f"annotation {number} of the image (category_id {record.categories[number]}): {error}"
