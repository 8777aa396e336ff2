"""The objects of an image, each with its mask, for datasets that know them apart."""

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as coco

from data.readers.coco.instances import CocoInstances, encode_shapes
from data.readers.coco.panoptic import CocoPanoptic, unlisted_ids
from data.source import Record, Source, category_indices, require_same_size, require_stated_size
from dataseg_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Object:
    """One segment or annotation.

    Attributes:
      place: which target of the record it is.
      category: its index in the vocabulary.
      crowd: whether it is several, or may be anywhere in its box.
      code: its mask as compressed RLE; None where only its box is known.
    """

    place: int
    category: int
    crowd: bool
    code: dict[str, Any] | None

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(coco.area(self.code)) if self.code else 0

    @property
    def box(self) -> list[float]:
        """x, y, width, height around the mask, in pixels."""
        return coco.toBbox(self.code).tolist()

    @property
    def mask(self) -> np.ndarray:
        """bool[H, W]."""
        return coco.decode(self.code).view(bool)


def require_objects(source: Source) -> None:
    """Raises InputError for a dataset whose masks do not tell objects apart."""
    if not isinstance(source.reader, CocoPanoptic | CocoInstances):
        raise InputError(
            f"{source.name}: {source.annotations} does not tell objects apart; --format must be coco_panoptic, "
            "coco_instances or one of their kind"
        )


def read_objects(source: Source, record: Record, image: np.ndarray) -> list[Object]:
    """All objects of an image that have a pixel, in the order of the record. Raises InputError."""
    labels = category_indices(source, record, record.categories)
    if isinstance(source.reader, CocoPanoptic):
        ids = source.read_mask(record)
        require_same_size(record, image, ids)
        strange = unlisted_ids(record, np.unique(ids))
        if strange:
            raise InputError(f"{record.mask}: {record.where}: segment id {strange[0]} is not in {source.annotations}")
        codes = [coco.encode(np.asfortranarray(ids == own).view(np.uint8)) for own in record.segment_ids]
    else:
        require_stated_size(record, image, source.annotations)
        codes = encode_shapes(record, *image.shape[:2], source.annotations, source.reader.may_lack_masks)
    return [
        Object(place, int(label), bool(crowd) or code is None, code)
        for place, (label, crowd, code) in enumerate(zip(labels, record.crowd, codes, strict=True))
        if code is None or coco.area(code)
    ]
