"""InSPyReNet's changes of colour against Pillow's ImageEnhance, which its code uses."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data.example import NO_TARGET, Example
from data.pipeline.augmentation.enhance import MOST, enhance_colours
from data.pipeline.transforms import Augmentation, augment

METHODS = (ImageEnhance.Contrast, ImageEnhance.Sharpness, ImageEnhance.Brightness)


def picture(seed=0):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((45, 30), Image.Resampling.BILINEAR)).astype(int)
    return np.clip(smooth + rng.integers(-40, 41, smooth.shape), 0, 255).astype(np.uint8)


def draws(which, amounts, order=0.0):
    return np.array([*(0.2 if on else 0.7 for on in which), *amounts, order, 0.5, 0.5])


@pytest.mark.parametrize("method", range(3))
@pytest.mark.parametrize("amount", [0.4, 0.7, 0.99])
def test_each_is_pillow_s_within_a_gray_level(method, amount):
    image = picture()
    found = enhance_colours(image, 1.0, draws(np.arange(3) == method, [amount] * 3))
    expected = np.asarray(METHODS[method](Image.fromarray(image)).enhance(1 + MOST * amount))
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != image).mean() > 0.02


@pytest.mark.parametrize("which", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("order", range(6))
def test_together_in_every_order(which, order):
    image = picture(1)
    found = enhance_colours(image, 1.0, draws(which, [0.9, 0.3, 0.6], (order + 0.5) / 6))
    expected = Image.fromarray(image)
    for place in list(itertools.permutations(range(3)))[order]:
        if which[place]:
            expected = METHODS[place](expected).enhance(1 + MOST * [0.9, 0.3, 0.6][place])
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1 + sum(which)
    assert any(which) or found is image


def test_strength_is_a_share_of_the_range():
    image = picture(2)
    half = enhance_colours(image, 0.5, draws((0, 0, 1), [0.8] * 3))
    np.testing.assert_array_equal(half, enhance_colours(image, 1.0, draws((0, 0, 1), [0.4] * 3)))


def test_the_padding_keeps_its_colour_and_targets_do_not_move():
    image = picture(3)
    segments = np.full(image.shape[:2], NO_TARGET, np.int32)
    segments[5:20, 10:30] = 0
    before = Example(image, 1, "a.png", np.zeros(1, np.int32), np.zeros((1, 4), np.float32), segments)
    plain = Augmentation((48, 48), 0.0, (1.0, 1.0), fill=(100, 120, 140))
    enhanced = Augmentation((48, 48), 0.0, (1.0, 1.0), 1.0, fill=(100, 120, 140), colour_mode="enhance")
    changed = 0
    for seed in range(8):
        (left, size), (right, _) = (augment(before, aug, np.random.default_rng(seed)) for aug in (plain, enhanced))
        np.testing.assert_array_equal(left.segments, right.segments)
        assert (right.image[size[0] :] == (100, 120, 140)).all()
        changed += (left.image != right.image).any()
    assert changed >= 5
