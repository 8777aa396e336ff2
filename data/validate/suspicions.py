"""Checks that need the counts of the whole dataset: values that are valid in each image and wrong together."""

from collections.abc import Iterator

from data.problem import Problem
from data.readers.label_png import LabelPng
from data.source import Source
from data.validate.summary import Summary
from dataseg_jax.text.vocabulary import Vocabulary

_ENOUGH_BOXES = 10  # Below it a few odd boxes would look like a rule.
_VOID_SHARE = 0.01  # Of all pixels: void along borders alone stays below.


def suspicions(source: Source, vocabulary: Vocabulary, summary: Summary) -> Iterator[Problem]:
    """Yields likely mistakes that the counts of a dataset show, with what to do about them."""
    reader = getattr(source, "reader", source)  # Of prepared data: that of the original layout.
    for rule in (_labels_start_elsewhere, _labels_are_black_and_white, _categories_start_elsewhere, _boxes_are_others):
        for text, fatal in rule(reader, vocabulary, summary):
            yield Problem(source.annotations, "", text, fatal)
    if summary.images and not summary.targets:
        rule = f"not one target in the {summary.images} sound images that were looked at"
        yield Problem(source.annotations, "", rule, fatal=False)


def _labels_start_elsewhere(source: Source, vocabulary: Vocabulary, summary: Summary) -> Iterator[tuple[str, bool]]:
    if not isinstance(source, LabelPng):
        return
    values, seen = source.class_values(), set(summary.labels)
    first, last, count = values[0], values[-1], len(values)
    if last - first + 1 != count or first not in (0, 1):
        return
    if first == 0 and source.unknown_values(sorted(seen)) == [count]:
        yield (
            f"off by one? the labels seem to run 1..{count} with 0 as void, vocabulary {vocabulary.name} says "
            f"0..{last}: set label_offset to 1 (elsewhere called reduce_zero_label)",
            True,
        )
    share = summary.labels[0] / max(1, summary.labels.total())
    missing = set(values) - seen
    # All but a few classes occur, the last one does not, and much of the images is "void".
    if first == 1 and last in missing and len(missing) <= max(1, count // 20) and share > _VOID_SHARE:
        yield (
            f"off by one? label 0, void in vocabulary {vocabulary.name} ({first}..{last}), covers {share:.0%} of all "
            f"pixels, and label {last} never occurs: if the labels run 0..{count - 1}, give the vocabulary these ids",
            False,
        )


def _labels_are_black_and_white(source: Source, vocabulary: Vocabulary, summary: Summary) -> Iterator[tuple[str, bool]]:
    if not isinstance(source, LabelPng) or set(summary.labels) != {0, 255}:
        return
    values = source.class_values()
    if not {0, 255} & set(values):
        yield (
            "the label PNGs hold 0 and 255 alone, both void: white is no class; write the class's label "
            f"({values[0]}, say) in its place",
            True,
        )


def _categories_start_elsewhere(source: Source, vocabulary: Vocabulary, summary: Summary) -> Iterator[tuple[str, bool]]:
    seen, count = set(summary.categories), len(vocabulary)
    unknown = seen.difference(vocabulary.ids)
    if 0 in unknown and min(seen) == 0 and max(seen) < count:
        yield (
            f"off by one? the category ids seem to be places in a list, 0..{count - 1}, where vocabulary "
            f"{vocabulary.name} has {min(vocabulary.ids)}..{max(vocabulary.ids)}",
            True,
        )
    if unknown == {count} and sorted(vocabulary.ids) == list(range(count)):
        yield (
            f"off by one? the category ids seem to run 1..{count}, where vocabulary {vocabulary.name} has "
            f"0..{count - 1}",
            True,
        )


def _boxes_are_others(source: Source, vocabulary: Vocabulary, summary: Summary) -> Iterator[tuple[str, bool]]:
    boxes = summary.boxes
    if boxes["all"] < _ENOUGH_BOXES:
        return
    # Of true boxes x y w h, many are wider than they are far from the left edge, but never all of them.
    if boxes["corners"] == boxes["all"] and 2 * boxes["over"] > boxes["all"]:
        yield (
            f"all {boxes['all']} boxes would lie in their images as x0 y0 x1 y1, and {boxes['over']} reach over the "
            "edge as x y width height, which COCO defines: convert them",
            True,
        )
    if boxes["fractions"] == boxes["all"]:
        yield f"all {boxes['all']} boxes lie between 0 and 1: they must be in pixels, not in parts of the image", True
