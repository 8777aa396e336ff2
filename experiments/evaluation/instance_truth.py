"""The ground truth of mask AP: the objects of a validation dataset, from any form of its files."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as rle

from data.pipeline.views import whole
from data.readers.coco.boxes import has_area
from data.readers.coco.instances import encode_shapes, read_table
from data.source import Record, Source, category_rule, unknown_categories
from dataseg_jax.errors import InputError


class InstanceTruth(Mapping[int, list[dict[str, Any]]]):
    """Image id -> the objects that `InstanceAP.update` takes, made on access, as all together would fill the memory.

    They come from the dataset's annotations, either segmentations or a panoptic PNG (things and crowds only), or from a
    separate JSON for datasets with boxes only. An object without a mask has only a box; see `InstanceAP`.

    Attributes:
      masks: whether there is a mask; if not, boxes alone can be scored.
      federated: image id -> (absent, incomplete), categories as `metrics.federated` takes them; empty if every
        category is annotated in every image.

    Args:
      source: the dataset; its vocabulary numbers the categories.
      file: a JSON to use instead of the dataset's annotations, "" for none.
      boxes: boxes alone are enough, since the model predicts boxes.

    Raises:
      InputError: there are no masks of objects, nor boxes that would do; `file` cannot be read; or a category is not in
        the vocabulary.
    """

    def __init__(self, source: Source, file: str = "", boxes: bool = False):
        self._source, self._file = source, file or source.annotations
        self._records = read_table(file, source.vocabulary) if file else source
        self._may_lack_masks = bool(file) or getattr(whole(source).reader, "may_lack_masks", False)
        self._category = {category: index for index, category in enumerate(source.vocabulary.ids)}
        self._place: dict[int, int] = {}
        self.federated: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.masks, boxed = False, False
        for place in range(len(self._records)):
            record = self._records.record(place)
            self._place[record.image_id] = place
            self.masks |= bool(record.shapes) or bool(record.mask and len(record.segment_ids))
            boxed |= bool(has_area(record.boxes).any())
            known = whole(source).vocabulary
            for strange in unknown_categories(known, record.categories):
                raise InputError(f"{self._file}: {record.where}: {category_rule(known, strange)}")
            if record.absent is not None:
                self.federated[record.image_id] = self._known(record.absent), self._known(record.incomplete or ())
        if not self.masks and not (boxes and boxed):
            raise InputError(f"{self._file}: has no masks of single objects, and mask AP needs them")

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[int]:
        return iter(self._place)

    def __getitem__(self, image_id: int) -> list[dict[str, Any]]:
        record = self._records.record(self._place[image_id])
        masks = self._of_png(record) if record.mask else self._of_shapes(record)
        stated = has_area(record.boxes)
        objects = []
        for i, category in enumerate(record.categories.tolist()):
            if category not in self._category or (masks[i] is None and not stated[i]):
                continue
            entry = {"category": self._category[category], "iscrowd": int(record.crowd[i])}
            if masks[i] is not None:
                entry["mask"] = masks[i]
            if stated[i]:
                entry["bbox"] = record.boxes[i].tolist()
            if record.areas is not None and np.isfinite(record.areas[i]):
                entry["area"] = float(record.areas[i])
            objects.append(entry)
        return objects

    def _of_shapes(self, record: Record) -> list[dict | None]:
        if not self.masks:
            return [None] * len(record.categories)
        height, width = record.size
        if not (height and width):
            raise InputError(f"{self._file}: {record.where}: states no height and width; its masks need them")
        return encode_shapes(record, height, width, self._file, self._may_lack_masks)

    def _of_png(self, record: Record) -> list[dict | None]:
        ids = self._source.read_mask(record)
        masks = ((ids == segment) for segment in record.segment_ids)
        return [rle.encode(np.asfortranarray(mask, np.uint8)) if mask.any() else None for mask in masks]

    def _known(self, categories: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self._category[category] for category in categories if category in self._category)
