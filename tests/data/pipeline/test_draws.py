"""The draws: the named generator, the ratios, and independence of where a run begins or ends."""

import numpy as np
import pytest

from data.pipeline.draws import Draws, EpochOrder, Phase
from data.pipeline.randomness import dataset_key, generator, uniform
from dataseg_jax.errors import InputError

RATIOS = {"a": 4.0, "b": 1.0, "c": 2.0}


def split_mix(state: int) -> int:
    """One output of SplitMix64 in plain integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_uniform_is_split_mix():
    # The published first outputs for seed 1234567 check the oracle itself.
    first = [split_mix(1234567 + n * 0x9E3779B97F4A7C15) for n in range(3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    steps, places = np.arange(5)[:, None], np.arange(4)
    drawn = uniform(np.uint64(99), steps, places)
    for step in range(5):
        stream = split_mix(99 + step * 0x9E3779B97F4A7C15)
        for place in range(4):
            assert drawn[step, place] == (split_mix(stream + place * 0x9E3779B97F4A7C15) >> 11) / 2**53


def test_the_numbers_of_an_example_are_those_of_earlier_versions():
    """Recorded before both generators were put into one module; others would change crops of runs that resume."""
    assert dataset_key(1, "coco") == 0x783FE55411E293E2
    assert generator(1, "coco", 5).random(2).tolist() == [0.023752454582781746, 0.809184878781039]
    assert generator(1, "coco", 6).random() != generator(1, "coco", 5).random()


def test_uniform_is_uniform():
    drawn = uniform(np.uint64(3), np.arange(400)[:, None], np.arange(50))
    assert 0 <= drawn.min() and drawn.max() < 1
    counts = np.bincount((drawn * 100).astype(int).ravel(), minlength=100)
    assert ((counts - 200) ** 2 / 200).sum() < 150  # Chi-squared of 99 degrees: p = 0.0007.
    for axis in (0, 1):
        pairs = np.corrcoef(drawn.take(range(49), axis).ravel(), drawn.take(range(1, 50), axis).ravel())
        assert abs(pairs[0, 1]) < 0.06


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ratios_are_realised(in_batch, seed):
    draws = Draws(seed, (Phase(0, RATIOS, 8, in_batch),), 10_000)
    used = np.zeros(3, int)
    for step in range(10_000):  # What a batch is made of, not what the counters say of it.
        used += np.bincount(draws.at(step)[0], minlength=3)
    np.testing.assert_array_equal(used, draws.counters(10_000))
    # A batch of one dataset is one draw, not eight.
    observed = used if in_batch else used / 8
    expected = observed.sum() * np.array([4, 1, 2]) / 7
    assert observed.sum() == (80_000 if in_batch else 10_000)
    assert ((observed - expected) ** 2 / expected).sum() < 13.8  # Chi-squared of 2 degrees: p = 0.001.


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_longer_run_begins_like_a_shorter_one(in_batch):
    phases = (Phase(0, RATIOS, 4, in_batch),)
    short, long = Draws(7, phases, 130), Draws(7, phases, 10_000)
    for step in (0, 1, 63, 64, 65, 129):
        for one, other in zip(short.at(step), long.at(step), strict=True):
            np.testing.assert_array_equal(one, other)


def test_draws_depend_on_the_seed_and_not_on_neighbours():
    phases = (Phase(0, RATIOS, 1),)
    first, other = ([d.at(s)[0][0] for s in range(2000)] for d in (Draws(1, phases, 2000), Draws(2, phases, 2000)))
    agreement = np.mean(np.equal(first, other))
    assert abs(agreement - (16 + 1 + 4) / 49) < 0.05  # As if drawn apart.
    after = np.mean(np.equal(first[1:], first[:-1]))
    assert abs(after - (16 + 1 + 4) / 49) < 0.05


@pytest.mark.parametrize("in_batch", [False, True])
def test_every_example_number_is_used_once_and_in_order(in_batch):
    phases = (Phase(0, RATIOS, 6, in_batch), Phase(100, {"b": 1.0, "d": 3.0}, 4, not in_batch))
    draws = Draws(5, phases, 300)
    assert draws.names == ("a", "b", "c", "d")
    used = np.zeros(4, int)
    for step in range(300):
        np.testing.assert_array_equal(draws.counters(step), used)
        datasets, numbers = draws.at(step)
        assert len(datasets) == len(numbers) == (6 if step < 100 else 4)
        assert step < 100 or not {0, 2} & set(datasets.tolist())
        if not draws.phase(step).in_batch:
            assert len(set(datasets.tolist())) == 1
        for dataset, number in zip(datasets, numbers, strict=True):
            assert number == used[dataset]
            used[dataset] += 1
    np.testing.assert_array_equal(draws.counters(300), used)


def test_a_ratio_of_zero_is_never_drawn():
    draws = Draws(0, (Phase(0, {"a": 0.0, "b": 1.0, "c": 0.0}, 1),), 5000)
    np.testing.assert_array_equal(draws.counters(5000), [0, 5000, 0])


def test_steps_outside_of_the_run():
    draws = Draws(0, (Phase(0, RATIOS, 1),), 10)
    with pytest.raises(IndexError, match="10 steps"):
        draws.counters(11)


@pytest.mark.parametrize("length", [1, 2, 7, 100])
def test_every_epoch_is_another_permutation(length):
    order = EpochOrder(11, length)
    epochs = [tuple(order[epoch * length + place] for place in range(length)) for epoch in range(6)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    if length >= 7:
        assert len(set(epochs)) == 6
    again = EpochOrder(11, length)
    assert [again[n] for n in range(6 * length - 1, -1, -1)] == [index for epoch in epochs for index in epoch][::-1]


def test_orders_are_fair():
    length, epochs = 5, 4000
    order = EpochOrder(0, length)
    counts = np.zeros((length, length))
    for epoch in range(epochs):
        for place in range(length):
            counts[place, order[epoch * length + place]] += 1
    expected = epochs / length
    assert ((counts - expected) ** 2 / expected).sum() < 45  # Chi-squared of 16 degrees: p = 0.0001.


@pytest.mark.parametrize(
    ("phases", "line"),
    [
        ((), "must start at step 0"),
        ((Phase(3, RATIOS, 1),), "must start at step 0"),
        ((Phase(0, RATIOS, 1), Phase(0, RATIOS, 1)), "rising steps"),
        ((Phase(0, {"a": -1.0, "b": 2.0}, 1),), "dataset a: ratio"),
        ((Phase(0, {"a": float("nan")}, 1),), "dataset a: ratio"),
        ((Phase(0, {"a": 0.0}, 1),), "at least one ratio"),
        ((Phase(0, RATIOS, 0),), "batch size"),
    ],
)
def test_phases_that_make_no_sense(phases, line):
    with pytest.raises(InputError, match=line):
        Draws(0, phases, 10)
