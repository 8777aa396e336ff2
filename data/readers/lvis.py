"""LVIS v1 (https://www.lvisdataset.org): annotations CC BY 4.0, on images of COCO with their own licences."""

import dataclasses
from typing import Any

import numpy as np

from data.example import Example
from data.readers.coco import entries
from data.readers.coco.instances import CocoInstances
from data.readers.table import Image, check_id
from data.source import Record
from dataseg_jax.text.vocabulary import Vocabulary


class Lvis(CocoInstances):
    """COCO's images with masks of 1,203 categories, each looked for in some of the images only: `Example.known`.

    `lvis_v1_val.json`, with the folders train2017 and val2017 below `images`, or all their images in `images` itself:
    LVIS's validation part has images of both, and names them by address alone.

    `image_counts` are the `image_count` of the file's categories, which are those of the whole dataset; if one of the
    vocabulary's states none, all are counted in the images that are read.
    """

    settings = ("image_counts",)

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = ".",
        annotations: str = "lvis_v1_val.json",
        limit: int = 0,
    ):
        self._looked_for: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        super().__init__(root, vocabulary, name=name, images=images, annotations=annotations, limit=limit)
        counts = _stated_counts(self._table.listed)
        if not counts.keys() >= set(vocabulary.ids):
            counts = self._table.image_counts()
        self.image_counts = [counts.get(category, 0) for category in vocabulary.ids]

    def read_entry(self, number: int, entry: Any) -> Image:
        image = entries.load_image(self.annotations, number, entry, "coco_url", parts=2)
        try:
            lists = entry["neg_category_ids"], entry["not_exhaustive_category_ids"]
            self._looked_for[image.image_id] = tuple(tuple(map(check_id, ids)) for ids in lists)
        except (KeyError, TypeError, ValueError) as error:
            needs = "the lists neg_category_ids and not_exhaustive_category_ids"
            raise entries.malformed(self.annotations, "image", number, needs, error) from error
        return image

    def record(self, index: int) -> Record:
        record = super().record(index)
        absent, incomplete = self._looked_for[record.image_id]
        return dataclasses.replace(record, absent=absent, incomplete=incomplete)

    def build(self, record: Record, image: np.ndarray, mask: None) -> Example:
        looked_for = {*record.categories.tolist(), *(record.absent or ())}
        known = [index for index, category in enumerate(self.vocabulary.ids) if category in looked_for]
        return dataclasses.replace(super().build(record, image, mask), known=np.array(known, np.int32))


def _stated_counts(categories: Any) -> dict[int, int]:
    """Category id -> its `image_count`, of the entries that state one."""
    listed = [e for e in categories if isinstance(e, dict)] if isinstance(categories, list) else []
    whole = [e for e in listed if type(e.get("id")) is int and type(e.get("image_count")) is int]
    return {e["id"]: e["image_count"] for e in whole if 0 <= e["image_count"] < 2**31}
