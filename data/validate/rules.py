"""The rules that every image of a dataset must keep, one function a rule."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data.example import Example
from data.problem import Problem
from data.readers.coco.boxes import clipped, has_area
from data.readers.coco.instances import CocoInstances, shape_rules
from data.readers.coco.panoptic import CocoPanoptic, unlisted_ids, unseen_ids
from data.readers.label_png import LabelPng
from data.source import category_rule, mask_size_rule, spell_size, stated_size_rule, unknown_categories
from data.validate import files
from data.validate.sample import Sample, areas
from data.validate.videos import videos_are_whole
from dataseg_jax.text.vocabulary import Vocabulary

_TOLERANCE = 1.0  # Pixels that a box may reach over the edge of its image: annotation tools round.
MOST_OF_DATASET = 10_000  # Problems of one rule to list: enough to mend or leave out their images by hand.
MOST_OF_IMAGE = 10  # The same of one image.
_LISTED = 5  # Ids or values of one image to name in one line.
_NEARLY_ALL = 0.99  # Of an image's pixels in one segment: rare in photographs, common in failed exports.


def files_can_be_read(sample: Sample) -> Iterator[Problem]:
    for file in (sample.image_file, sample.mask_file):
        if file.fault:
            yield file.fault


def mask_has_size_of_image(sample: Sample) -> Iterator[Problem]:
    image, mask = sample.image, sample.mask
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        rule = mask_size_rule(sample.record, image, mask) + _turned(sample, mask.shape)
        yield sample.problem(sample.record.mask, rule)


def image_has_stated_size(sample: Sample) -> Iterator[Problem]:
    if sample.image is not None and any(sample.record.size) and sample.image.shape[:2] != sample.record.size:
        # With a mask the file's numbers are not used; boxes are in pixels of the stated size.
        fatal = not sample.record.mask
        rule = stated_size_rule(sample.record, sample.image) + _turned(sample, sample.record.size)
        yield sample.problem(sample.source.annotations, rule, fatal)


def panoptic_ids_agree(sample: Sample) -> Iterator[Problem]:
    if not isinstance(sample.reader, CocoPanoptic) or sample.mask is None:
        return
    present = np.array(list(sample.values))
    strange, unseen = unlisted_ids(sample.record, present), unseen_ids(sample.record, present)
    if strange:
        header = sample.mask_file.header
        why = "; the PNG has a palette, and ids are R + 256 G + 65536 B" if header and header.mode == "P" else ""
        rule = f"segment ids {some(strange)} of the PNG are not in {sample.source.annotations}{why}"
        yield sample.problem(sample.record.mask, rule)
    if unseen:
        rule = f"segment ids {some(unseen)} have no pixel in {sample.record.mask}"
        yield sample.problem(sample.source.annotations, rule)
    repeated = [key for key, count in Counter(sample.record.segment_ids.tolist()).items() if count > 1]
    if repeated:
        rule = f"segment ids {some(repeated)} are listed more than once"
        yield sample.problem(sample.source.annotations, rule)


def labels_are_in_vocabulary(sample: Sample) -> Iterator[Problem]:
    if isinstance(sample.reader, LabelPng) and sample.mask is not None:
        strange = sample.reader.unknown_values(list(sample.values))
        if strange:
            yield sample.problem(sample.record.mask, f"label {some(strange)} {sample.reader.known_values()}")


def categories_are_in_vocabulary(sample: Sample) -> Iterator[Problem]:
    for category in unknown_categories(sample.vocabulary, sample.record.categories):
        yield sample.problem(sample.source.annotations, category_rule(sample.vocabulary, category))


def masks_have_shapes(sample: Sample) -> Iterator[Problem]:
    if isinstance(sample.reader, CocoInstances) and sample.image is not None:
        height, width = sample.image.shape[:2]
        for rule in shape_rules(sample.record, height, width, sample.reader.may_lack_masks):
            yield sample.problem(sample.source.annotations, rule)


def crowds_are_things(sample: Sample) -> Iterator[Problem]:
    name_of = stuff_names(sample.vocabulary)
    marked = sample.record.categories[sample.record.crowd].tolist()
    for category in sorted(set(marked) & name_of.keys()):
        rule = f"marks stuff ({name_of[category]}, category_id {category}) as a crowd, so its pixels become void"
        yield sample.problem(sample.source.annotations, rule, fatal=False)


def boxes_lie_in_image(sample: Sample) -> Iterator[Problem]:
    if sample.record.mask or sample.record.shapes or sample.image is None:  # Boxes of masks are measured, not read.
        return
    height, width = sample.image.shape[:2]
    boxes = sample.record.boxes
    finite = np.isfinite(boxes).all(axis=1)
    inside = clipped(np.where(finite[:, None], boxes, 0), height, width)
    empty = finite & ~has_area(boxes)
    outside = finite & ~empty & ~(inside[:, 2:] > inside[:, :2]).all(axis=1)
    over = finite & ~empty & ~outside & reaches_over(boxes, height, width)
    for which, rule in (
        (~finite, "is not finite and is dropped"),
        (empty, "has no area and is dropped"),
        (outside, f"lies outside of the {width}x{height} image and is dropped"),
        (over, f"reaches over the edge of the {width}x{height} image and is cut"),
    ):
        bad = boxes[which]
        for box in bad[: MOST_OF_IMAGE - 1].tolist():
            yield _box_problem(sample, box, rule)
        if len(bad) >= MOST_OF_IMAGE:  # The rest is counted, not gone through: it may be millions.
            last = _box_problem(sample, bad[MOST_OF_IMAGE - 1].tolist(), rule)
            yield dataclasses.replace(last, more=len(bad) - MOST_OF_IMAGE)


def _box_problem(sample: Sample, box: list[float], rule: str) -> Problem:
    spelled = ", ".join(f"{number:g}" for number in box)
    problem = sample.problem(sample.source.annotations, f"box [{spelled}] {rule}", fatal=False)
    return dataclasses.replace(problem, kind=f"box {rule.partition('the')[0]}")


# In the order in which they are reported.
RULES: tuple[Callable[[Sample], Iterator[Problem]], ...] = (
    files_can_be_read,
    mask_has_size_of_image,
    image_has_stated_size,
    panoptic_ids_agree,
    labels_are_in_vocabulary,
    categories_are_in_vocabulary,
    masks_have_shapes,
    crowds_are_things,
    boxes_lie_in_image,
    videos_are_whole,
)


def targets_have_pixels(sample: Sample, example: Example) -> Iterator[Problem]:
    """A rule about the example that the reader built from an image without fatal problems."""
    file = sample.record.mask or sample.source.annotations
    if example.segments is None:
        return
    own, void = areas(example)
    if void == example.segments.size and not own.any():
        yield sample.problem(file, "all pixels are void, so nothing can be learned here", fatal=False)
    for target in np.flatnonzero(own == 0).tolist():
        name = sample.vocabulary.names[example.labels[target]]
        yield sample.problem(file, f"target {target} ({name}) has no pixel", fatal=False)


def notes(sample: Sample, example: Example | None) -> Iterator[Problem]:
    """What is accepted but worth knowing; the report prints equal notes once, with their number."""
    for rule in files.notes(sample.record.image, sample.image_file.header):
        yield sample.problem(sample.record.image, rule, fatal=False)
    mask = sample.mask_file.header
    if isinstance(sample.reader, CocoPanoptic) and mask and mask.mode == "P":
        yield sample.problem(sample.record.mask, "panoptic PNG with a palette; its colours are the ids", fatal=False)
    if example is not None and example.segments is not None:
        if areas(example)[0].max(initial=0) > _NEARLY_ALL * example.segments.size:
            rule = f"one segment covers more than {_NEARLY_ALL:.0%} of the image"
            yield sample.problem(sample.record.mask or sample.source.annotations, rule, fatal=False)


def reaches_over(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which boxes [T, 4] (x, y, w, h) reach over the edge of the image by more than rounding."""
    with np.errstate(over="ignore", invalid="ignore"):
        beyond = boxes[:, :2] + boxes[:, 2:] > np.array([width, height]) + _TOLERANCE
    return ((boxes[:, :2] < -_TOLERANCE) | beyond).any(axis=1)


def stuff_names(vocabulary: Vocabulary) -> dict[int, str]:
    """Category id -> name of the stuff categories."""
    entries = zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True)
    return {key: name for key, name, thing in entries if not thing}


def some(values: Sequence[object]) -> str:
    """The first few values, and how many more there are."""
    return ", ".join(map(str, values[:_LISTED])) + (f" and {len(values) - _LISTED} more" if values[_LISTED:] else "")


def _turned(sample: Sample, size: tuple[int, int]) -> str:
    """The end of a message about sizes, where they fit the image as it is stored."""
    header = sample.image_file.header
    if header is None or header.size != tuple(size) or header.orientation not in (5, 6, 7, 8):
        return ""
    return (
        f"; the annotation fits the image as stored, which its EXIF orientation {header.orientation} turns to "
        f"{spell_size(sample.image)}: turn the annotation too, or take the tag out of the image"
    )
