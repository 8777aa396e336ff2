"""Referring sets: RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO, on images of COCO train2014."""

import array
import dataclasses
import json
import os
from typing import Any

import numpy as np

from data.problem import MOST_DEFECTS, Problem, Problems
from data.readers.coco import entries
from data.readers.coco.instances import NEEDS, CocoInstances
from data.readers.coco.json_stream import stream
from data.readers.phrases.flat import SharedTexts
from data.readers.phrases.refs import Ref, beside, refs_of
from data.readers.table import Images, Rows, Table, check_id
from data.source import Record, require_path
from dataseg_jax.text import load_vocabulary
from dataseg_jax.text.vocabulary import Vocabulary

_SHOWN = 5  # Annotation ids to name in one line.


class Referring(CocoInstances):
    """Images with the objects that phrases of one split refer to, and these phrases.

    An image is in the source if a phrase of the split is about it. Its targets are the objects that are referred to,
    each once, and no others; their categories are those of the annotations. A phrase about several objects (gRefCOCO)
    has a target of its own, of their masks united, with the category of the first. Phrases about nothing in an image
    are its `absent_phrases`. A crowd that is referred to is a target like any other.

    Args:
      root: folder of the dataset.
      vocabulary: its `ids` are the category ids of instances.json.
      name: what to call the dataset.
      images: folder of the images below `root`, COCO's train2014.
      annotations: the refs below `root`, such as "refcocog/refs(umd).p", or the same as JSON; beside it lies
        instances.json, whose file names count.
      split: train, val, testA, ...: which of the refs; "" = the only split.
      limit: keep the first so many images by image id, 0 = all.

    Attributes:
      refs: path of the refs; `annotations` is that of instances.json.

    Raises:
      InputError: a path is missing, a file is malformed, there is no such split, or no image is left.
    """

    phrased = True

    def __init__(
        self,
        root: str,
        vocabulary: Vocabulary,
        *,
        name: str,
        images: str = "train2014",
        annotations: str = "refs(unc).p",
        split: str = "",
        limit: int = 0,
    ):
        self.name, self.vocabulary = name, vocabulary
        self.refs = require_path(name, os.path.join(root, annotations), "file of refs")
        self.annotations = require_path(name, beside(self.refs), "annotation file")
        self.image_folder = require_path(name, os.path.join(root, images), "image folder")
        found = Problems(MOST_DEFECTS)
        refs = [ref for ref in refs_of(self.refs, split) if self._has_phrase(ref, found)]
        listed, rows, image_of = self._read_instances(vocabulary, refs, found)
        self._keep(refs, listed, image_of, found)
        locate = entries.locate(self.annotations, listed, self.image_folder)
        self._table = Table(self.annotations, limit, listed, rows, locate)
        self.defects = (*self._table.defects, *found)

    @staticmethod
    def own_vocabulary(root: str, name: str, annotations: str) -> Vocabulary:
        """The categories of instances.json."""
        path = beside(os.path.join(root, annotations or "refs(unc).p"))
        return dataclasses.replace(load_vocabulary(path), name=name)

    def _has_phrase(self, ref: Ref, found: Problems) -> bool:
        if ref.empty:
            found.add([Problem(self.refs, ref.where, "has an empty phrase, which is left out", fatal=False)], "empty")
        if not ref.phrases:
            found.add([Problem(self.refs, ref.where, "has no phrase, so it is left out", fatal=False)], "no phrase")
        return bool(ref.phrases)

    def _read_instances(
        self, vocabulary: Vocabulary, refs: list[Ref], found: Problems
    ) -> tuple[Images, Rows, dict[int, int]]:
        """The images and annotations that the refs are about, and the image of each such annotation."""
        wanted_images = {ref.image_id for ref in refs}
        wanted = {annotation for ref in refs for annotation in ref.annotations}
        rows, images, image_of = Rows(), Images(), {}

        def add_image(number: int, entry: Any, _: str) -> None:
            image = self.read_entry(number, entry)
            if image.image_id in wanted_images:
                images.append(image)

        def add_target(number: int, entry: Any, text: str) -> None:
            try:
                own = entry.get("id")
                if type(own) is not int or own not in wanted:
                    return
                if own in image_of:
                    rule = "is used more than once; the first counts, and phrases may mean another"
                    found.add([Problem(self.annotations, f"annotation id {own}", rule)], "repeated")
                    return
                image_of[own] = check_id(entry["image_id"])
                if image_of[own] in wanted_images:
                    rows.append_entry(entry, entry.get("bbox") or (0, 0, 0, 0), text, own)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise entries.malformed(self.annotations, "annotation", number, NEEDS, error) from error

        content = stream(self.annotations, {"images": add_image, "annotations": add_target})
        entries.require_same_names(self.annotations, content, vocabulary)
        return images, rows, image_of

    def _keep(self, refs: list[Ref], images: Images, image_of: dict[int, int], found: Problems) -> None:
        """Keeps the phrases of each image: JSON [[annotation ids, phrases] of each target, absent phrases]."""
        of_image = {image_id: ({}, []) for image_id in sorted(set(images.ids.tolist()))}
        for ref in refs:
            rule = _fault(ref, of_image, image_of)
            if rule:
                found.add([Problem(self.refs, ref.where, rule)], "ids")
                continue
            targets, absent = of_image[ref.image_id]
            phrases = targets.setdefault(tuple(sorted(ref.annotations)), []) if ref.annotations else absent
            phrases += ref.phrases
        self._image_ids = array.array("q", of_image)
        self._phrases = SharedTexts(json.dumps([list(t.items()), absent]).encode() for t, absent in of_image.values())

    def record(self, index: int) -> Record:
        record = self._table.record(index)
        targets, absent = json.loads(self._phrases[index])
        place = {own: row for row, own in enumerate(record.segment_ids.tolist())}
        members = [[place[own] for own in annotations] for annotations, _ in targets]
        first = [rows[0] for rows in members]
        shapes, areas = record.shapes, record.areas
        return dataclasses.replace(
            record,
            segment_ids=record.segment_ids[first],
            categories=record.categories[first],
            crowd=np.zeros(len(first), bool),
            boxes=np.array([_around(record.boxes[rows]) for rows in members]).reshape(-1, 4),
            shapes=tuple(_united([shapes[row] for row in rows]) for rows in members),
            areas=np.array([areas[rows[0]] if len(rows) == 1 else np.nan for rows in members]) if shapes else None,
            phrases=tuple(tuple(phrases) for _, phrases in targets),
            absent_phrases=tuple(absent),
        )


def _fault(ref: Ref, known_images: dict[int, Any], image_of: dict[int, int]) -> str:
    """What is wrong with the ids of a ref, "" if nothing."""
    if ref.image_id not in known_images:
        return f"is about image {ref.image_id}, which is not in the list of images of instances.json"
    missing = [own for own in ref.annotations if own not in image_of]
    if missing:
        named = ", ".join(map(str, missing[:_SHOWN]))
        return f"is about annotation {named}, which instances.json does not have"
    other = next((own for own in ref.annotations if image_of[own] != ref.image_id), None)
    if other is not None:
        return f"is about image {ref.image_id}, but its annotation {other} is of image {image_of[other]}"
    return ""


def _united(shapes: list[Any]) -> Any:
    return shapes[0] if len(shapes) == 1 else {"union": shapes}


def _around(boxes: np.ndarray) -> np.ndarray:
    """The box x y w h around others float64[n, 4]."""
    if len(boxes) == 1:
        return boxes[0]
    corner = boxes[:, :2].min(axis=0)
    return np.concatenate([corner, (boxes[:, :2] + boxes[:, 2:]).max(axis=0) - corner])
