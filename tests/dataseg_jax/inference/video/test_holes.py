"""Holes and islands of masks: equal to a loop over scipy's regions, and in a session to the cleaned answers."""

import numpy as np
import pytest
from scipy import ndimage

from dataseg_jax.errors import InputError
from dataseg_jax.inference.video.holes import FILLED, REMOVED, Cleaning
from tests.dataseg_jax.inference.video.toy import predictor, tracked, video


def naive(logits, holes, islands):
    out = logits.copy()
    for one in out:
        for most, value, inside in (holes, FILLED, lambda x: x <= 0), (islands, REMOVED, lambda x: x > 0):
            labels, count = ndimage.label(inside(one), np.ones((3, 3)))
            for number in range(1, count + 1):
                if (labels == number).sum() <= most:
                    one[labels == number] = value
    return out


@pytest.mark.parametrize("holes, islands", [(8, 0), (0, 8), (3, 5), (1, 1000)])
def test_regions_are_those_of_a_loop(holes, islands):
    rng = np.random.default_rng(holes)
    logits = ndimage.gaussian_filter(rng.normal(size=(6, 40, 40)), (0, 1, 1)).astype(np.float32) + 0.02
    logits[5, 7] = 0  # Zero is background.
    expected = naive(logits, holes, islands)
    assert (expected != logits).any()
    before = logits.copy()
    np.testing.assert_array_equal(Cleaning(holes, islands)(logits), expected)
    np.testing.assert_array_equal(logits, before)
    assert Cleaning(0, 0)(logits) is logits


def test_areas_are_in_proportion_to_the_grid():
    assert Cleaning.at(256, 8, 3) == Cleaning(8, 3)
    assert Cleaning.at(128, 8, 3) == Cleaning(2, 0) and Cleaning.at(512, 8, 3) == Cleaning(32, 12)
    with pytest.raises(InputError, match="islands=-1: it is an area"):
        predictor().start(video(2), islands=-1)


def test_a_session_shows_cleaned_masks_and_feeds_them_back():
    """What is tracked is the same, since memories are; a second click is asked about the cleaned mask."""
    scale = 256**2 // 16**2
    plain, cleaned = (predictor().start(video(4), **how) for how in ({}, dict(holes=9 * scale, islands=9 * scale)))
    rest = Cleaning(9, 9)
    for session in (plain, cleaned):
        session.add(0, "a", points=[[20, 20]])
    ours, theirs = tracked(cleaned), tracked(plain)
    changed = 0
    for frame, objects in theirs.items():
        np.testing.assert_array_equal(ours[frame]["a"], rest(objects["a"][None])[0])
        changed += (ours[frame]["a"] != objects["a"]).any()
    assert changed > 1
    second = [session.add(3, "a", points=[[60, 30]]) for session in (plain, cleaned)]
    assert (second[0] != second[1]).any()
