"""Panoptic images in the official COCO layout: one JSON, and for each image a PNG of segment ids."""

import dataclasses
import os
from typing import Any

import numpy as np

from data.example import VOID, Example
from data.images import decode_panoptic_ids
from data.pipeline.regions import boxes_and_areas, runs
from data.readers import coco_json
from data.source import Problem, Record, Source, category_indices, require_path, require_same_size
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import below
from dataseg_jax.text.vocabulary import Vocabulary

_NEEDS = "image_id, file_name and segments_info with an id and a category_id each"


class CocoPanoptic(Source):
    """Images with panoptic PNG + JSON; semantic and instance data too: the task decides.

    Crowd segments are void. Boxes are measured on the mask; the file's
    own are not used. A segment of the JSON without a pixel is no target.

    Where the JSON's image ids are strings, as the scripts for ADE20K and Cityscapes write them, an image id is the
    place of the string in sorted order, and messages give the string.

    Args:
      root: folder of the dataset.
      vocabulary: its `ids` are the category ids of the JSON.
      name: what to call the dataset.
      images: folder of the images below `root`.
      masks: folder of the PNGs below `root`.
      annotations: the JSON file below `root`.
      limit: keep the first so many images by image id, 0 = all.

    Raises:
      InputError: a path is missing, the JSON is malformed, or no image is left.
    """

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "images",
        masks: str = "panoptic",
        annotations: str = "panoptic.json",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.annotations = require_path(name, os.path.join(root, annotations), "annotation file")
        image_folder = self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        mask_folder = self.mask_folder = require_path(name, os.path.join(root, masks), "folder of panoptic PNGs")
        content = coco_json.load(self.annotations, ("images", "annotations"))
        coco_json.require_same_names(self.annotations, content, vocabulary)
        self._keys = _number_image_ids(self.annotations, content)

        rows, mask_of, defects = coco_json.Rows(), {}, []
        for number, entry in enumerate(content["annotations"]):
            try:
                image_id = coco_json.check_id(entry["image_id"])
                mask = below(mask_folder, entry["file_name"], f"{self.annotations}: annotation number {number}")
                if image_id in mask_of:
                    defects.append(Problem(self.annotations, f"image {image_id}", "is annotated more than once"))
                    continue
                mask_of[image_id] = mask
                for segment in entry["segments_info"]:
                    rows.append(image_id, segment["id"], segment["category_id"], segment.get("iscrowd", 0))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise coco_json.malformed(self.annotations, "annotation", number, _NEEDS, error) from error

        listed = []
        for entry in coco_json.load_images(self.annotations, content["images"], image_folder):
            if entry.image_id in mask_of:
                image = self.image_path(image_folder, entry)
                listed.append(entry._replace(image=image, mask=mask_of[entry.image_id]))
            else:
                rule = "has no annotation, so the image is left out"
                defects.append(Problem(self.annotations, f"image {entry.image_id}", rule, fatal=False))
        self._table = coco_json.Table(self.annotations, limit, listed, rows)
        numbered = self._table.defects + tuple(defects)
        names = {f"image {number}": f"image {key}" for number, key in enumerate(self._keys)}
        self.defects = tuple(dataclasses.replace(d, record=names.get(d.record, d.record)) for d in numbered)

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        record = self._table.record(index)
        return dataclasses.replace(record, key=self._keys[record.image_id]) if self._keys else record

    def image_path(self, folder: str, image: coco_json.Image) -> str:
        """Path of the image of an entry; layouts whose JSON does not state it override this."""
        return image.image

    def decode_mask(self, content: bytes, file: str) -> np.ndarray:
        return decode_panoptic_ids(content, file, self.limits)

    def build(self, record: Record, image: np.ndarray, mask: np.ndarray) -> Example:
        require_same_size(record, image, mask)
        starts, lengths = runs(mask)
        present, owner = np.unique(mask.reshape(-1)[starts], return_inverse=True)
        missing = unlisted_ids(record, present)
        if missing:
            raise InputError(
                f"{record.mask}: {record.where}: segment id {missing[0]} is not in {self.annotations}; "
                f"every id of the PNG but 0 needs an entry in segments_info"
            )
        shown = set(present.tolist())
        target = [
            place
            for place, (segment, crowd) in enumerate(zip(record.segment_ids.tolist(), record.crowd, strict=True))
            if segment in shown and not crowd
        ]
        labels = category_indices(self, record, record.categories[target])
        index_of = {segment: index for index, segment in enumerate(record.segment_ids[target].tolist())}
        table = np.array([index_of.get(segment, VOID) for segment in present.tolist()], np.int32)
        segments = np.repeat(table[owner], lengths).reshape(mask.shape)
        boxes, _ = boxes_and_areas(segments, len(labels))
        return Example(image, record.image_id, record.image, labels, boxes, segments)


def _number_image_ids(file: str, content: dict[str, Any]) -> tuple[str, ...]:
    """Puts numbers for image ids that are strings, in place; returns the string of every number, () if there are none.

    Raises:
      InputError: some ids are strings and others are numbers.
    """
    uses = [(entry, "id") for entry in content["images"]] + [(entry, "image_id") for entry in content["annotations"]]
    ids = [(entry, field) for entry, field in uses if isinstance(entry, dict) and field in entry]
    strings = [(entry, field) for entry, field in ids if isinstance(entry[field], str)]
    keys = tuple(sorted({entry[field] for entry, field in strings}))
    if strings and len(strings) < len(ids):
        raise InputError(f"{file}: image id '{keys[0]}' is a string and others are numbers; all must be of one kind")
    number_of = {key: number for number, key in enumerate(keys)}
    for entry, field in strings:
        entry[field] = number_of[entry[field]]
    return keys


def unlisted_ids(record: Record, present: np.ndarray) -> list[int]:
    """Ids that the PNG shows and the JSON does not list (0 is void and needs no entry)."""
    return sorted(set(present.tolist()).difference(record.segment_ids.tolist(), [0]))


def unseen_ids(record: Record, present: np.ndarray) -> list[int]:
    """Ids that the JSON lists and the PNG does not show."""
    return sorted(set(record.segment_ids.tolist()).difference(present.tolist()))
