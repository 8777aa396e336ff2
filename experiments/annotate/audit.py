"""How good annotations are: IoU of each with the ground truth of the same object (SAM, section 5: mask quality)."""

import array
import collections
import dataclasses
import json
import os
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools import mask as coco

from data.readers import segmentations
from data.readers.coco.entries import load_image
from data.readers.coco.json_stream import stream
from data.readers.table import check_id
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary, integer, parse_json
from experiments.annotate.shards.plan import Plan

HIGH, FAIR = 0.9, 0.75  # The paper's: 94% of its pairs are above the first, 97% above the second.


@dataclasses.dataclass(frozen=True)
class Audit:
    """Attributes:
    ious: float[pairs].
    images: that were annotated and have ground truth; the other fields are of these alone.
    without_truth: annotations that have no pair.
    without_annotation: ground truth that has no pair.
    crowds: annotations that are crowds: objects of which there is no mask.
    """

    ious: np.ndarray
    images: int
    without_truth: int
    without_annotation: int
    crowds: int

    def scores(self) -> dict[str, float | int | None]:
        """Plain JSON; shares and mean are None without a pair."""
        some = len(self.ious) > 0
        return {
            "images": self.images,
            "pairs": len(self.ious),
            "above_90": float((self.ious > HIGH).mean()) if some else None,
            "above_75": float((self.ious > FAIR).mean()) if some else None,
            "mean_iou": float(self.ious.mean()) if some else None,
            "annotations_without_truth": self.without_truth,
            "truths_without_annotation": self.without_annotation,
            "crowds": self.crowds,
        }

    def line(self) -> str:
        """One line for people."""
        rest = (
            f"in {self.images} images {self.without_truth} annotations without ground truth, "
            f"{self.without_annotation} of the ground truth without an annotation, {self.crowds} crowds"
        )
        if not len(self.ious):
            return f"no pair to compare; {rest}"
        high, fair = (100 * (self.ious > least).mean() for least in (HIGH, FAIR))
        return (
            f"{len(self.ious)} pairs, {high:.1f}% with an IoU above {HIGH}, {fair:.1f}% above {FAIR}, mean "
            f"{self.ious.mean():.3f}; {rest}"
        )


def audit(plan: Plan, files: Iterable[str | os.PathLike], truth: str) -> Audit:
    """Compares what was made with ground truth: annotations of boxes and points with that of their id, others one to
    one within an image of the same file name, the pair of the highest IoU first.

    Crowds of the ground truth are in no pair. In memory are the masks of the ground truth, and of what was made at most
    those of its images.

    Args:
      plan: of the folder.
      files: instances.json, or all shards.
      truth: COCO instances JSON.

    Raises:
      InputError: a file is malformed, or annotations have no ids to go by.
    """
    by_name = plan.about.get("mode") == "automatic"
    if not by_name and not plan.about.get("own_ids"):
        raise InputError("--audit goes by the ids of annotations; in --annotations each must have one of its own")
    true = _Truth(truth, by_name)
    found = (_ByOverlap if by_name else _ById)(true)
    for file in files:
        found.read(str(file))
    return found.result()


class _Truth:
    """The masks of the ground truth by image (its name or its id) and id, compressed; crowds are left out."""

    def __init__(self, file: str, by_name: bool):
        self.file, self.by_name = file, by_name
        self.masks: dict[Any, dict[int, bytes]] = collections.defaultdict(dict)
        self.sizes: dict[Any, tuple[int, int]] = {}
        key_of: dict[int, Any] = {}

        def add_image(number: int, entry: Any, _: str) -> None:
            image = load_image(file, number, entry)
            key_of[image.image_id] = key = image.image if by_name else image.image_id
            self.sizes[key] = image.height, image.width

        def add_mask(number: int, entry: Any, _: str) -> None:
            own, image_id, shape, crowd = _fields(file, number, entry)
            if image_id in key_of and shape and not crowd:
                self.masks[key_of[image_id]][own] = _packed(shape)

        # The list of images may follow that of annotations.
        stream(file, {"images": add_image, "annotations": _skip})
        stream(file, {"images": _skip, "annotations": add_mask})

    def decoded(self, key: Any, own: int, packed: bytes, size: list[int]) -> dict[str, Any]:
        """The RLE of one at a size. Raises InputError: it is of another size, or no mask."""
        where, stated = f"{self.file}: annotation {own}", self.sizes[key]
        if any(stated) and list(stated) != size:
            raise InputError(f"{where}: its image is {list(stated)} (height, width), and the annotations are of {size}")
        return _decoded(packed, where, size)


class _ById:
    """Pairs of one id in one image; each is compared when it is read, and then forgotten."""

    def __init__(self, true: _Truth):
        self._true, self._seen, self._ious, self._counts = true, set(), array.array("d"), collections.Counter()

    def read(self, file: str) -> None:
        """Adds the annotations of a file."""

        def add_image(number: int, entry: Any, _: str) -> None:
            self._seen.add(load_image(file, number, entry).image_id)

        def add(number: int, entry: Any, _: str) -> None:
            own, image_id, shape, crowd = _fields(file, number, entry)
            if image_id not in self._true.sizes:
                return
            packed = None if crowd else self._true.masks[image_id].pop(own, None)
            if packed is None:
                self._counts["crowds" if crowd else "single"] += 1
                return
            where = f"{file}: annotation {own}"
            size = _size(shape, where)
            made, truth = _decoded(_packed(shape), where, size), self._true.decoded(image_id, own, packed, size)
            self._ious.append(coco.iou([made], [truth], [0])[0, 0])

        stream(file, {"images": add_image, "annotations": add})

    def result(self) -> Audit:
        """Of all files that were read."""
        audited = self._seen & self._true.sizes.keys()
        left = sum(len(self._true.masks[image_id]) for image_id in audited)
        return Audit(np.array(self._ious), len(audited), self._counts["single"], left, self._counts["crowds"])


class _ByOverlap:
    """Pairs of the highest IoU in each image."""

    def __init__(self, true: _Truth):
        self._true, self._crowds = true, 0
        self._made: dict[str, list[tuple[bytes, list[int]]]] = {}

    def read(self, file: str) -> None:
        """Adds the annotations of a file."""
        name_of: dict[int, str] = {}

        def add_image(number: int, entry: Any, _: str) -> None:
            image = load_image(file, number, entry)
            if image.image in self._true.sizes:
                name_of[image.image_id] = image.image
                self._made[image.image] = []

        def add(number: int, entry: Any, _: str) -> None:
            own, image_id, shape, crowd = _fields(file, number, entry)
            if image_id in name_of and crowd:
                self._crowds += 1
            elif image_id in name_of:
                self._made[name_of[image_id]].append((_packed(shape), _size(shape, f"{file}: annotation {own}")))

        stream(file, {"images": add_image, "annotations": _skip})
        stream(file, {"images": _skip, "annotations": add})

    def result(self) -> Audit:
        """Of all files that were read."""
        ious, single, left = [], 0, 0
        for name, masks in self._made.items():
            found = [_decoded(packed, f"an annotation of {name}", size) for packed, size in masks]
            true = self._true.masks[name].items() if masks else ()
            truths = [self._true.decoded(name, own, packed, masks[0][1]) for own, packed in true]
            pairs = paired(coco.iou(found, truths, [0] * len(truths))) if found and truths else []
            ious += pairs
            single += len(found) - len(pairs)
            left += len(self._true.masks[name]) - len(pairs)
        return Audit(np.array(ious), len(self._made), single, left, self._crowds)


def paired(iou: np.ndarray) -> list[float]:
    """The IoUs above 0 of pairs of rows and columns of float[A, B], one to one, the highest first."""
    found, rows, columns = [], set(), set()
    for place in np.argsort(-iou, axis=None, kind="stable").tolist():
        row, column = divmod(place, iou.shape[1])
        if iou[row, column] > 0 and row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            found.append(float(iou[row, column]))
    return found


def _fields(file: str, number: int, entry: Any) -> tuple[int, int, Any, bool]:
    """Id, image id, segmentation and crowd flag of an annotation. Raises InputError."""
    with boundary(f"{file}: annotation number {number}", "needs an id, an image_id and a segmentation"):
        own = integer(entry["id"], f"{file}: annotation number {number}: its id")
        return own, check_id(entry["image_id"]), entry.get("segmentation"), bool(entry.get("iscrowd"))


def _packed(shape: Any) -> bytes:
    return zlib.compress(json.dumps(shape).encode(), 1)


def _decoded(packed: bytes, where: str, size: list[int]) -> dict[str, Any]:
    try:
        return segmentations.encode(parse_json(zlib.decompress(packed), where), *size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _size(shape: Any, where: str) -> list[int]:
    """Height and width of an RLE. Raises InputError."""
    size = shape.get("size") if isinstance(shape, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        raise InputError(f"{where}: its segmentation has no size; it must be an RLE, {{size, counts}}")
    return [integer(side, f"{where}: a side of its segmentation", 1, 2**20) for side in size]


def _skip(number: int, entry: Any, text: str) -> None:
    """Of a list that is not looked at in this pass."""
