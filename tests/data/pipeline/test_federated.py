"""The federated loss's categories: those that were looked for, and others drawn as the definition draws them."""

import itertools

import numpy as np
import pytest

from data.example import Example
from data.pipeline.federated import known_categories, sampling_weights
from data.pipeline.transforms import Augmentation, augment
from dataseg_jax.errors import InputError


def example(known, labels=()):
    labels = np.array(labels, np.int32)
    known = None if known is None else np.array(known, np.int32)
    boxes = np.tile(np.array([0, 0, 8, 8], np.float32), (len(labels), 1))
    return Example(np.zeros((8, 8, 3), np.uint8), 1, "a.jpg", labels, boxes, None, known=known)


def test_weights_are_roots_of_the_counts():
    np.testing.assert_allclose(sampling_weights([0, 4, 9]), [0, 2, 3])
    for counts in ([], [0, 0], [1, -1], [1.0, float("nan")], "many", [[1]], None):
        with pytest.raises(InputError, match="image_counts"):
            sampling_weights(counts)


def chances(weights, room):
    """How often each category is among `room` drawn one after the other, each by its share of what is left."""
    total = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), room):
        chance, left = 1.0, float(sum(weights))
        for k in order:
            chance, left = chance * weights[k] / left, left - weights[k]
        total[list(order)] += chance
    return total


def test_others_are_drawn_without_replacement_by_weight():
    weights, rng, times = np.array([5.0, 1.0, 2.0, 0.0, 4.0, 3.0]), np.random.default_rng(0), 4000
    seen = np.zeros(6)
    for _ in range(times):
        known = known_categories(example([1], labels=[0]), weights, 4, rng)
        assert known.sum() == 4 and known[[0, 1]].all() and not known[3]
        seen += known
    expected = chances(weights[[2, 4, 5]], 2)
    np.testing.assert_allclose(seen[[2, 4, 5]] / times, expected, atol=4 * 0.5 / times**0.5)


@pytest.mark.parametrize("most", [0, 2, 3])
def test_what_was_looked_for_is_never_left_out(most):
    known = known_categories(example([0, 2], [3]), np.ones(5), most, np.random.default_rng(0))
    np.testing.assert_array_equal(known, [True, False, True, True, False])


def test_no_more_than_there_are():
    known = known_categories(example([0]), np.array([1.0, 0.0, 2.0]), 50, np.random.default_rng(0))
    np.testing.assert_array_equal(known, [True, False, True])


def test_all_are_known_where_all_were_looked_for_and_as_many_numbers_are_drawn():
    one, other = np.random.default_rng(0), np.random.default_rng(0)
    assert known_categories(example(None), np.ones(4), 2, one).all()
    known_categories(example([1]), np.ones(4), 2, other)
    assert one.bit_generator.state == other.bit_generator.state


def test_a_crop_changes_nothing_about_what_was_looked_for():
    before = example([1, 3], labels=[3])
    after, _ = augment(before, Augmentation((4, 4), 0, (0.1, 0.1)), np.random.default_rng(0))
    assert not len(after.labels) and after.known.tolist() == [1, 3]
