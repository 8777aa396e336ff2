"""An annotation that was made, and counts of what was made and what not."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco

from data.source import Record

# What may become of an answer that is no mask of the output, and how it is called.
DROPPED = {
    "no_fit": "boxes without a mask that fits",
    "unsure": "of too low a predicted IoU",
    "unstable": "of too low a stability",
    "misfit": "with a box too unlike the given one",
    "large": "of nearly the whole image",
    "cut": "at the edge of a crop",
    "duplicates": "duplicates",
    "over_limit": "not looked at",
    "outside": "points outside of the image",
    "unusable": "crowds or boxes without area",
}


class Item(NamedTuple):
    """An image to annotate: its place among all images, what is known of it, and its pixels uint8[H, W, 3]."""

    place: int
    record: Record
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class Annotation:
    """Attributes:
    id: of the output.
    category: id of its category.
    code: its mask, {"size": [H, W], "counts": bytes}.
    bbox: x, y, width, height in pixels.
    fields: further ones of COCO and of SA-1B: area, iscrowd, predicted_iou, stability_score, point_coords, crop_box.
    """

    id: int
    category: int
    code: dict[str, Any]
    bbox: tuple[float, ...]
    fields: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """As a record of SA-1B, whose boxes are those of the masks, without the last row and column."""
        x, y, width, height = coco.toBbox(self.code).tolist()
        code = {"size": [int(side) for side in self.code["size"]], "counts": self.code["counts"].decode()}
        return {"id": self.id, "segmentation": code, "bbox": [x, y, width - 1, height - 1], **self.fields}


@dataclasses.dataclass
class Counts:
    """What became of images and prompts; `iou` is the sum of the masks' `predicted_iou`, `dropped` by `DROPPED`."""

    images: int = 0
    failed: int = 0
    masks: int = 0
    iou: float = 0.0
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)

    def drop(self, why: str, count: int = 1) -> None:
        """Counts what is no mask; `why` is a key of `DROPPED`. 0 has it named all the same."""
        self.dropped[why] = self.dropped.get(why, 0) + int(count)

    def add(self, other: "Counts") -> None:
        """Adds those of other images."""
        for name in ("images", "failed", "masks", "iou"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for why, count in other.dropped.items():
            self.drop(why, count)

    def line(self, of_boxes: bool) -> str:
        """One line; `of_boxes`: the IoU is that of boxes, not one that a model predicts."""
        what = "mean IoU of boxes" if of_boxes else "mean predicted IoU"
        mean = f", {what} {self.iou / self.masks:.3f}" if self.masks else ""
        dropped = "".join(f"{self.dropped[why]} {text}, " for why, text in DROPPED.items() if why in self.dropped)
        return f"{self.images} images, {self.masks} masks{mean}; {dropped}{self.failed} images failed"
