"""LVIS v1 (https://www.lvisdataset.org): annotations CC BY 4.0, on images of COCO with their own licences."""

import dataclasses
from typing import Any

from data.readers.coco import entries
from data.readers.coco.instances import CocoInstances
from data.readers.table import Image, check_id
from data.source import Record
from dataseg_jax.text.vocabulary import Vocabulary


class Lvis(CocoInstances):
    """COCO's images with masks of 1,203 categories, each looked for in some of the images only.

    `lvis_v1_val.json`, with the folders train2017 and val2017 below `images`, or all their images in `images` itself:
    LVIS's validation part has images of both, and names them by address alone.
    """

    evaluation_only = (
        "LVIS does not label every category in every image, so what carries no label would be taught to be background"
    )

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
