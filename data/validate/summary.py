"""Counts of what the images of a dataset hold; counts of images and of processes can be added."""

import dataclasses
from collections import Counter

import numpy as np

from data.example import Example
from data.readers.coco.boxes import has_area
from data.readers.label_png import LabelPng
from data.validate.rules import reaches_over
from data.validate.sample import Sample, areas


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts over images.

    Attributes:
      images: sound ones that were looked at; the next ten are about these alone.
      without_targets: how many of them have none.
      targets, most_targets: targets in all, and of the image that has most.
      united_panoptic, united_semantic: targets that are united with another one of the same category when
        stuff, or every category, is merged.
      pixels, void: pixels of images with masks, and those of them that are void.
      images_of, targets_of, pixels_of: index of a category -> images that show it, its targets, their pixels.
      labels: value of a label PNG -> its pixels, in all that could be decoded.
      categories: category id of an annotation file -> its annotations.
      boxes: of the boxes with area, "all", those that reach "over" the edge, and those that would lie inside if
        they were meant as "corners" (x0 y0 x1 y1) or "fractions" of the image.
    """

    images: int = 0
    without_targets: int = 0
    targets: int = 0
    most_targets: int = 0
    united_panoptic: int = 0
    united_semantic: int = 0
    pixels: int = 0
    void: int = 0
    images_of: Counter[int] = dataclasses.field(default_factory=Counter)
    targets_of: Counter[int] = dataclasses.field(default_factory=Counter)
    pixels_of: Counter[int] = dataclasses.field(default_factory=Counter)
    labels: Counter[int] = dataclasses.field(default_factory=Counter)
    categories: Counter[int] = dataclasses.field(default_factory=Counter)
    boxes: Counter[str] = dataclasses.field(default_factory=Counter)

    def __add__(self, other: "Summary") -> "Summary":
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name) for field in dataclasses.fields(self)
        }
        return Summary(**sums | {"most_targets": max(self.most_targets, other.most_targets)})


def summarise(sample: Sample, example: Example | None) -> Summary:
    """Counts one image; `example` is None where it is not sound."""
    raw = Summary(categories=Counter(sample.record.categories.tolist()), boxes=_boxes(sample))
    if isinstance(sample.reader, LabelPng) and sample.mask is not None:
        raw = dataclasses.replace(raw, labels=Counter(sample.values))
    if example is None:
        return raw
    labels = example.labels.tolist()
    targets_of = Counter(labels)
    repeats = {label: count - 1 for label, count in targets_of.items()}
    own, void = areas(example)
    pixels_of: Counter[int] = Counter()
    for label, area in zip(labels, own.tolist(), strict=True):
        pixels_of[label] += area
    return dataclasses.replace(
        raw,
        images=1,
        without_targets=int(not labels),
        targets=len(labels),
        most_targets=len(labels),
        united_panoptic=sum(n for label, n in repeats.items() if not sample.vocabulary.is_thing[label]),
        united_semantic=sum(repeats.values()),
        pixels=0 if example.segments is None else example.segments.size,
        void=void,
        images_of=Counter(targets_of.keys()),
        targets_of=targets_of,
        pixels_of=pixels_of,
    )


def _boxes(sample: Sample) -> Counter[str]:
    boxes = sample.record.boxes
    if sample.record.mask or sample.record.shapes or sample.image is None:
        return Counter()
    boxes = boxes[has_area(boxes)]
    height, width = sample.image.shape[:2]
    corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= np.array([width, height]) + 1)
    fractions = (boxes >= 0) & (boxes <= 1)
    return Counter(
        all=len(boxes),
        over=int(reaches_over(boxes, height, width).sum()),
        corners=int(corners.all(axis=1).sum()),
        fractions=int(fractions.all(axis=1).sum()),
    )
