"""Colour jitter against colorsys and plain arithmetic, pixel by pixel."""

import colorsys

import numpy as np
import pytest

from data.pipeline.augmentation.colour import DRAWS, jitter_colours

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def image(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)


def draws(last=0.9, **amounts) -> np.ndarray:
    """Draws that make the named changes alone; amounts are from -1 to 1."""
    values = np.full(DRAWS, 0.9)
    for name, amount in amounts.items():
        place = ["brightness", "contrast", "saturation", "hue"].index(name)
        values[place], values[4 + place] = 0.1, (amount + 1) / 2
    values[8] = last
    return values


def clipped(values) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255)


def in_hsv(pixels, change) -> np.ndarray:
    """Every pixel through colorsys, with `change` applied to its (h, s, v)."""
    flat = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*(p / 255)))) for p in pixels.reshape(-1, 3)]
    return 255 * np.array(flat).reshape(pixels.shape)


def test_no_draw_under_a_half_changes_nothing():
    np.testing.assert_array_equal(jitter_colours(image(), 1.0, np.full(DRAWS, 0.5)), image())


def test_strength_zero_changes_nothing():
    np.testing.assert_array_equal(jitter_colours(image(), 0.0, np.full(DRAWS, 0.1)), image())


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_brightness_adds_at_most_32_levels(strength):
    for amount in (-1.0, 0.5):
        changed = jitter_colours(image(), strength, draws(brightness=amount))
        np.testing.assert_array_equal(changed, clipped(image() + 32.0 * strength * amount))


def test_contrast_multiplies_by_a_half_to_one_and_a_half():
    for amount in (-1.0, 0.8):
        changed = jitter_colours(image(), 1.0, draws(contrast=amount))
        np.testing.assert_array_equal(changed, clipped(image() * (1 + 0.5 * amount)))


def test_contrast_comes_after_brightness_or_last():
    for last in (0.1, 0.9):
        changed = jitter_colours(image(), 1.0, draws(last, brightness=1.0, contrast=1.0))
        np.testing.assert_array_equal(changed, clipped(clipped(image() + 32.0) * 1.5))
    first, last = (
        jitter_colours(image(), 1.0, draws(when, contrast=1.0, saturation=-1.0)).astype(float) for when in (0.1, 0.9)
    )
    halved = [in_hsv(p, lambda h, s, v: (h, s / 2, v)) for p in (clipped(image() * 1.5), image())]
    assert np.abs(first - halved[0]).max() <= 3 and np.abs(last - clipped(halved[1] * 1.5)).max() <= 4
    assert np.abs(first - last).max() > 10


def test_saturation_is_scaled_and_hue_turned():
    # OpenCV keeps hue in steps of 2 degrees, which moves a level by up to 255 / 60 * 1.
    changed = jitter_colours(image(), 1.0, draws(saturation=-0.5)).astype(float)
    assert np.abs(changed - in_hsv(image(), lambda h, s, v: (h, 0.75 * s, v))).max() <= 5
    changed = jitter_colours(image(), 1.0, draws(hue=1.0)).astype(float)
    assert np.abs(changed - in_hsv(image(), lambda h, s, v: ((h + 36 / 360) % 1, s, v))).max() <= 6
    back = jitter_colours(image(), 1.0, draws(hue=-1.0)).astype(float)
    assert np.abs(back - in_hsv(image(), lambda h, s, v: ((h - 36 / 360) % 1, s, v))).max() <= 6


def test_the_image_it_is_given_stays_as_it_is():
    before = image()
    for seed in range(20):
        jitter_colours(before, 1.0, np.random.default_rng(seed).random(DRAWS))
    np.testing.assert_array_equal(before, image())
