"""Panoptic images in the official COCO layout: one JSON, and for each image a PNG of segment ids."""

import dataclasses
import os
from typing import Any

import numpy as np

from data.example import VOID, Example
from data.pipeline.regions import boxes_and_areas, runs
from data.problem import MOST_DEFECTS, Problem, Problems
from data.readers.coco import entries
from data.readers.coco.json_stream import stream
from data.readers.table import Image, Images, Rows, Table, check_id
from data.source import Record, Source, category_indices, require_path, require_same_size
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import decode_panoptic_ids
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
        rows, images, ids = Rows(), Images(), _ImageIds()
        mask_of: dict[int, str] = {}
        defects = Problems(MOST_DEFECTS)

        def add_image(number: int, entry: Any, _: str) -> None:
            if isinstance(entry, dict) and "id" in entry:
                entry = entry | {"id": ids.number(entry["id"])}
            images.append(entries.load_image(self.annotations, number, entry))

        def add_segments(number: int, entry: Any, _: str) -> None:
            try:
                image_id = check_id(ids.number(entry["image_id"]))
                mask = below(mask_folder, entry["file_name"], f"{self.annotations}: annotation number {number}")
                if mask_of.setdefault(image_id, mask) is not mask:
                    rule = "is annotated more than once"
                    defects.add([Problem(self.annotations, f"image {entry['image_id']}", rule)], "annotated twice")
                    return
                for segment in entry["segments_info"]:
                    rows.append(image_id, segment["id"], segment["category_id"], segment.get("iscrowd", 0))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise entries.malformed(self.annotations, "annotation", number, _NEEDS, error) from error

        content = stream(self.annotations, {"images": add_image, "annotations": add_segments})
        entries.require_same_names(self.annotations, content, vocabulary)
        self._keys, number_of = ids.sorted(self.annotations)
        if self._keys:
            images.renumber(number_of)
            rows.renumber(number_of)
            mask_of = {int(number_of[number]): mask for number, mask in mask_of.items()}

        locate = entries.locate(self.annotations, images, image_folder)
        listed = Images()
        for image in images:
            if image.image_id in mask_of:
                found = self.image_path(image_folder, image._replace(image=locate(image)))
                listed.append(image._replace(image=found, mask=mask_of[image.image_id]))
            else:
                rule = "has no annotation, so the image is left out"
                problem = Problem(self.annotations, f"image {self._name(image.image_id)}", rule, fatal=False)
                defects.add([problem], "not annotated")
        self._table = Table(self.annotations, limit, listed, rows)
        self.defects = (*map(self._named, self._table.defects), *defects)

    def _name(self, image_id: int) -> str | int:
        """The file's own id of an image."""
        return self._keys[image_id] if self._keys else image_id

    def _named(self, problem: Problem) -> Problem:
        """A problem of the table with the file's own id of the image."""
        what, _, number = problem.record.partition(" ")
        return dataclasses.replace(problem, record=f"image {self._name(int(number))}") if what == "image" else problem

    def __len__(self) -> int:
        return len(self._table)

    def record(self, index: int) -> Record:
        record = self._table.record(index)
        return dataclasses.replace(record, key=self._keys[record.image_id]) if self._keys else record

    def image_path(self, folder: str, image: Image) -> str:
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


class _ImageIds:
    """Numbers for image ids that are strings, in the order in which they come; other ids stay as they are."""

    def __init__(self):
        self._number_of: dict[str, int] = {}
        self._others = False

    def number(self, image_id: Any) -> Any:
        if isinstance(image_id, str):
            return self._number_of.setdefault(image_id, len(self._number_of))
        self._others = True
        return image_id

    def sorted(self, file: str) -> tuple[tuple[str, ...], np.ndarray]:
        """All strings in sorted order, () if there are none, and for each number so far the string's place in it.

        Raises:
          InputError: some ids are strings and others are not.
        """
        keys = sorted(self._number_of)
        if keys and self._others:
            raise InputError(
                f"{file}: image id '{keys[0]}' is a string and others are numbers; all must be of one kind"
            )
        places = np.empty(len(keys), np.int64)
        places[[self._number_of[key] for key in keys]] = np.arange(len(keys))
        return tuple(keys), places


def unlisted_ids(record: Record, present: np.ndarray) -> list[int]:
    """Ids that the PNG shows and the JSON does not list (0 is void and needs no entry)."""
    return sorted(set(present.tolist()).difference(record.segment_ids.tolist(), [0]))


def unseen_ids(record: Record, present: np.ndarray) -> list[int]:
    """Ids that the JSON lists and the PNG does not show."""
    return sorted(set(record.segment_ids.tolist()).difference(present.tolist()))
