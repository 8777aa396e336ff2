"""Baselines of referring and foreground scores, against values worked out by hand."""

import numpy as np
import pytest

from data.example import NO_TARGET, Example
from experiments.evaluation.comparisons.foreground_baselines import contrast, foreground_baselines, mean_mask
from experiments.evaluation.comparisons.phrase_baselines import phrase_baselines
from experiments.evaluation.scorers import asked_of


def example(labels, phrases, absent=()):
    """Objects side by side: the first is 4 columns wide, the second 3, the third 2, all 10 high."""
    segments = np.full((10, 12), NO_TARGET, np.int32)
    for target, (low, high) in enumerate(((0, 4), (4, 7), (7, 9))[: len(labels)]):
        segments[:, low:high] = target
    boxes = np.zeros((len(labels), 4), np.float32)
    image = np.zeros((10, 12, 3), np.uint8)
    return Example(image, 1, "x.png", np.int32(labels), boxes, segments, None, phrases, absent)


def test_the_largest_object_and_the_largest_of_the_class():
    images = [
        example([0, 1, 1], (("a", "b"), ("c",), ("d",)), ("nothing",)),
        example([2], (("e",),)),
    ]
    scores = phrase_baselines(images, asked_of)
    assert scores["largest_object_miou"] == pytest.approx(3 / 5), "a, b and e are of a largest object"
    assert scores["class_only_miou"] == pytest.approx(4 / 5), "d is the smaller of its class"


def test_contrast_is_the_distance_from_the_border():
    image = np.full((20, 20, 3), 10, np.uint8)
    image[8:12, 8:12] = 110
    image[5, 5] = 60
    measured = contrast(image)
    assert measured[10, 10] == 1 and measured[5, 5] == pytest.approx(0.5) and measured[0, 0] == 0


def test_baselines_of_the_foreground():
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    assert mean_mask([half, ~half]) == pytest.approx(0.5)
    image = np.zeros((64, 64, 3), np.uint8)
    inside = np.zeros((64, 64), bool)
    inside[20:40, 20:40] = True
    image[inside] = 200
    scores = foreground_baselines([inside, inside, half], [(image, inside)])
    assert scores["contrast_mae"] == pytest.approx(0)
    average = (2 * inside.astype(float) + half) / 3
    assert scores["mean_mask_mae"] == pytest.approx(np.abs(average - inside).mean(), abs=1e-6)
