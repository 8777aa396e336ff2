"""The baselines against naive loops, and their scores on the shapes world."""

import numpy as np
import pytest

from data.shapes import World, draw
from data.shapes.layouts import category_id
from dataseg_jax.errors import InputError
from experiments.evaluation.comparisons.baselines import (
    colour_classifier,
    colour_histogram,
    majority_class,
    semantic_baselines,
)


def random_images(count: int, seed: int, num_classes: int = 4) -> list:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 9, 7, 3), dtype=np.uint8)
    return list(zip(images, rng.integers(-1, num_classes, (count, 9, 7), dtype=np.int32), strict=True))


def shapes(difficulty: str, split: str, count: int, things_only: bool = False) -> list:
    """Images of the semantic set with labels 0..7 and void -1."""
    images = []
    for index in range(count):
        scene = draw(World(difficulty=difficulty), "semantic", split, index)
        ids = np.array([category_id("semantic", name) - 1 for name in scene.names])
        labels = np.where(scene.void, -1, ids[scene.segments])
        images.append((scene.image, np.where(labels < 4, labels, -1) if things_only else labels))
    return images


def naive_miou(images: list, predictions: list, num_classes: int) -> float:
    scores = []
    for k in range(num_classes):
        hit = union = present = 0
        for (_, labels), prediction in zip(images, predictions, strict=True):
            for truth, answer in zip(labels.ravel(), prediction.ravel(), strict=True):
                present += truth == k
                hit += truth == k and answer == k
                union += truth != -1 and (truth == k or answer == k)
        if present:
            scores.append(hit / union)
    return float(np.mean(scores))


def test_histogram_counts_every_labelled_pixel_once():
    images = random_images(3, seed=0)
    naive = np.zeros((4, 8, 8, 8), np.int64)
    for image, labels in images:
        for (r, g, b), label in zip(image.reshape(-1, 3), labels.ravel(), strict=True):
            if label >= 0:
                naive[label, r // 32, g // 32, b // 32] += 1
    np.testing.assert_array_equal(colour_histogram(images, 4, bins=8), naive)


def test_colour_classifier_answers_the_class_most_often_seen_nearby():
    histogram = np.zeros((3, 16, 16, 16), np.int64)
    histogram[0, 2, 3, 4], histogram[1, 2, 3, 4], histogram[2, 12, 3, 9] = 5, 7, 1
    classify = colour_classifier(histogram)
    colours = np.array([[[2, 3, 4], [12, 3, 9], [3, 3, 5], [11, 4, 9], [12, 4, 15]]]) * 16 + 8
    np.testing.assert_array_equal(classify(colours.astype(np.uint8)), [[1, 2, 1, 2, 2]])


def test_scores_are_those_of_a_naive_loop():
    train, val = random_images(4, seed=1), random_images(2, seed=2)
    histogram = colour_histogram(train, 4)
    expected = {
        name: naive_miou(val, [classify(image) for image, _ in val], 4)
        for name, classify in (("colour", colour_classifier(histogram)), ("majority", majority_class(histogram)))
    }
    assert semantic_baselines(train, val, 4) == pytest.approx(expected)


def test_colour_alone_solves_images_of_one_colour_a_class():
    rng = np.random.default_rng(0)
    palette = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
    labels = rng.integers(0, 3, (6, 8, 8)).astype(np.int32)
    labels[:, :6] = 1
    images = [(palette[label], label) for label in labels]
    scores = semantic_baselines(iter(images[:3]), iter(images[3:]), 3)
    share = np.mean(labels[3:] == 1)
    assert scores == pytest.approx({"colour": 1.0, "majority": share / 3})


def test_colour_helps_in_the_easy_world_but_does_not_solve_it():
    scores = semantic_baselines(shapes("easy", "train", 100), shapes("easy", "val", 60), 8)
    # A small segmenter reaches at least 0.75; colour alone must stay 0.25 below that.
    assert 0.25 < scores["colour"] < 0.75 - 0.25
    assert scores["majority"] < 0.06


def test_colour_tells_nothing_of_the_things_in_the_hard_world():
    train, val = (shapes("hard", split, 120, things_only=True) for split in ("train", "val"))
    classify = colour_classifier(colour_histogram(train, 8))
    right = np.zeros(4)
    for k in range(4):
        mine = [classify(image)[labels == k] == k for image, labels in val]
        right[k] = np.concatenate(mine).mean()
    # Mean recall over four classes: 1/4 by chance, 1/2 and more in the easy world.
    assert abs(right.mean() - 0.25) < 0.05


def test_bad_labels_are_refused():
    image = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(InputError, match=r"training image 1: labels span 0\.\.4; give -1\.\.3"):
        semantic_baselines([(image, np.zeros((2, 2), int)), (image, np.array([[0, 4], [0, 0]]))], [], 4)
    with pytest.raises(InputError, match="none has a labelled pixel"):
        semantic_baselines([(image, np.full((2, 2), -1))], [], 4)
