"""Rotation against plain loops over pixels, and that nothing else has changed where it is off."""

import dataclasses

import numpy as np
import pytest

from data.example import NO_TARGET, VOID, Example
from data.pipeline.augmentation.colour import DRAWS
from data.pipeline.augmentation.rotation import Rotation
from data.pipeline.masks import Masks
from data.pipeline.transforms import Augmentation, augment
from dataseg_jax.errors import InputError
from tests.messages import one_line

H, W = 24, 32
PLAIN = Augmentation((H, W), flip=0.0, scale=(1.0, 1.0), min_area=1)


def shown(y, x, degrees, height=H, width=W):
    """Where in the image the pixel of the turned one comes from: a turn the other way about the middle."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    down, right = y - (height - 1) / 2, x - (width - 1) / 2
    return down * cos + right * sin + (height - 1) / 2, right * cos - down * sin + (width - 1) / 2


def turned(values, degrees, outside):
    """By the nearest pixel, one at a time; None where two are as near."""
    found = np.full(values.shape, outside, values.dtype)
    unsure = np.zeros(values.shape, bool)
    for y, x in np.ndindex(*values.shape):
        row, column = shown(y, x, degrees, *values.shape)
        unsure[y, x] = min(abs(row % 1 - 0.5), abs(column % 1 - 0.5)) < 1e-9
        row, column = round(row), round(column)
        if 0 <= row < values.shape[0] and 0 <= column < values.shape[1]:
            found[y, x] = values[row, column]
    return found, unsure


def scene(seed=0, masks=False) -> Example:
    """Blocks as segments, or with their neighbours as masks that overlap; some of it void."""
    rng = np.random.default_rng(seed)
    segments = np.full((H, W), NO_TARGET, np.int32)
    segments[3:12, 2:14], segments[10:22, 16:30], segments[15:20, 3:9], segments[:3, 20:] = 0, 1, 2, VOID
    dense = np.stack([segments == 0, segments >= 1, segments == 2]).astype(np.uint8)
    y, x = np.mgrid[:H, :W]
    image = np.stack([5 * x + 2 * y, 3 * y + 90, 120 + 30 * np.sin(x / 5)], -1).astype(np.uint8)  # Smooth.
    boxes, labels = np.zeros((3, 4), np.float32), rng.permutation(3).astype(np.int32)
    if not masks:
        return Example(image, 1, "a.png", labels, boxes, segments)
    segments = np.where(segments == VOID, VOID, NO_TARGET).astype(np.int32)
    return Example(image, 1, "a.png", labels, boxes, segments, Masks.encode(dense, (H, W)))


class Draws:
    """A generator whose last number, that of the rotation, is given; colours stay, and nothing is flipped."""

    def __init__(self, turn):
        self.turn = turn

    def random(self, count):
        assert count == 4 + DRAWS + 1
        return np.array([0.99] * (count - 1) + [self.turn])


@pytest.mark.parametrize("turn, degrees", [(0.0, -10), (0.1, -6), (0.4, 6), (0.499, 9.96)])
@pytest.mark.parametrize("masks", [False, True])
def test_every_pixel_shows_what_the_turn_back_finds(turn, degrees, masks):
    before = scene(masks=masks)
    after, size = augment(before, dataclasses.replace(PLAIN, rotate=10.0, fill=(9, 8, 7)), Draws(turn))
    assert size == (H, W) and after.labels.tolist() == before.labels.tolist()
    expected, unsure = turned(before.segments, degrees, VOID)
    np.testing.assert_array_equal(after.segments[~unsure], expected[~unsure])
    assert (after.segments == VOID).sum() > (before.segments == VOID).sum()  # The corners.
    whole = np.asarray(before.masks) if masks else [before.segments == k for k in range(3)]
    here = np.asarray(after.masks) if masks else [after.segments == k for k in range(3)]
    for old, new, box in zip(whole, here, after.boxes, strict=True):
        expected, unsure = turned(np.asarray(old, np.uint8), degrees, 0)
        np.testing.assert_array_equal(np.asarray(new, np.uint8)[~unsure], expected[~unsure])
        rows, columns = np.nonzero(new)
        np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("degrees", [-10.0, 12.0, 45.0])
def test_the_image_is_interpolated_between_four_pixels(degrees):
    image, fill = scene().image, (200, 0, 30)
    padded = np.empty((H + 2, W + 2, 3))
    padded[:] = fill
    padded[1:-1, 1:-1] = image
    found = Rotation(H, W, degrees).of_image(image, fill)
    outside = 0
    for y, x in np.ndindex(H, W):
        row, column = shown(y, x, degrees)
        if not (-1 < row < H and -1 < column < W):
            assert found[y, x].tolist() == list(fill)
            outside += 1
            continue
        top, left = int(np.floor(row)), int(np.floor(column))
        below, right = row - top, column - left
        corners = padded[top + 1 : top + 3, left + 1 : left + 3]
        expected = (1 - below) * ((1 - right) * corners[0, 0] + right * corners[0, 1]) + below * (
            (1 - right) * corners[1, 0] + right * corners[1, 1]
        )
        # OpenCV rounds positions to 1/32 of a pixel; at the edge two neighbours may be far apart.
        steepest = max(np.ptp(corners, axis=(0, 1)).max(), 1)
        np.testing.assert_allclose(found[y, x], expected, atol=1 + steepest / 16)
    assert outside > 5


def test_half_of_the_images_are_turned_and_a_quarter_each_way():
    rng, before = np.random.default_rng(0), scene()
    aug = dataclasses.replace(PLAIN, rotate=30.0)
    kinds = {"still": 0, "turned": 0}
    for _ in range(400):
        after, _ = augment(before, aug, rng)
        kinds["still" if np.array_equal(after.segments, before.segments) else "turned"] += 1
    assert abs(kinds["still"] - 200) < 50
    for turn in (0.5, 0.75, 0.99):
        after, _ = augment(before, aug, Draws(turn))
        np.testing.assert_array_equal(after.image, before.image)


@pytest.mark.parametrize("masks", [False, True])
def test_only_the_part_that_is_image_is_turned(masks):
    """The padding stays where it is, for its size is that of what is shown."""
    before = scene(masks=masks)
    aug = Augmentation((H + 8, W), flip=0.0, scale=(1.0, 1.0), rotate=10.0, min_area=1, fill=(1, 2, 3))
    after, size = augment(before, aug, Draws(0.0))
    alone, _ = augment(before, dataclasses.replace(aug, image_size=(H, W)), Draws(0.0))
    assert size == (H, W)
    assert (after.segments[H:] == VOID).all() and (after.image[H:] == (1, 2, 3)).all()
    np.testing.assert_array_equal(after.segments[:H], alone.segments)
    np.testing.assert_array_equal(after.boxes, alone.boxes)
    if masks:
        np.testing.assert_array_equal(np.asarray(after.masks)[:, :H], np.asarray(alone.masks))
        assert not np.asarray(after.masks)[:, H:].any()


@pytest.mark.parametrize("count", [127, 128, 40000])
def test_segments_keep_their_type(count):
    kind = next(t for t in (np.int8, np.int16, np.int32) if count <= np.iinfo(t).max)
    segments = np.full((H, W), VOID, kind)
    segments[5:20, 5:28] = count - 1
    after = Rotation(H, W, 7.0).of_segments(segments, VOID)
    assert after.dtype == kind and after.max() == count - 1 and after.min() == VOID


def test_boxes_alone_are_not_turned():
    boxes = Example(scene().image, 1, "a.png", np.zeros(1, np.int32), np.ones((1, 4), np.float32), None)
    one_line(lambda: augment(boxes, dataclasses.replace(PLAIN, rotate=1.0), np.random.default_rng(0)), "boxes only")
    for wrong in ({"rotate": -1}, {"rotate": 46}, {"scale_chance": 0}, {"colour_mode": "grey"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            dataclasses.replace(PLAIN, **wrong)


def test_as_many_numbers_are_drawn_as_before_and_one_more_to_turn():
    for aug, more in (
        (PLAIN, 0),
        (dataclasses.replace(PLAIN, stretch=True, scale_chance=0.5, colour=1.0, colour_mode="enhance"), 0),
        (dataclasses.replace(PLAIN, rotate=5.0), 1),
    ):
        drawn, expected = np.random.default_rng(0), np.random.default_rng(0)
        augment(scene(), aug, drawn)
        expected.random(4 + DRAWS + more)
        assert drawn.bit_generator.state == expected.bit_generator.state


def test_a_scale_by_chance_is_uniform_in_its_range_or_none():
    """Of a 24 x 32 image in an input twice as high and wide, so that every scale shows."""
    before, rng = scene(), np.random.default_rng(1)
    aug = Augmentation((2 * H, 2 * W), flip=0.0, scale=(0.5, 0.75), scale_chance=0.5, min_area=1)
    heights = np.array([augment(before, aug, rng)[1][0] for _ in range(400)])
    scaled = heights[heights < 2 * H]
    assert abs(len(scaled) - 200) < 50 and scaled.min() == H and scaled.max() == 1.5 * H
    assert abs(scaled.mean() - 1.25 * H) < 1.5


def test_stretched_images_fill_the_input_and_each_axis_is_scaled_alone():
    before = scene()
    for side, factor in ((48, 1.0), (64, 0.75), (48, 1.25)):
        aug = Augmentation((side, side), flip=0.0, scale=(factor, factor), stretch=True, min_area=1)
        after, size = augment(before, aug, np.random.default_rng(3))
        shown_side = min(side, round(side * factor))
        assert size == (shown_side, shown_side)
        if factor == 1:
            expected = before.segments.repeat(2, 0)  # 24 rows become 48, 32 columns become 48.
            np.testing.assert_array_equal(after.segments[:, 0::3], expected[:, 0::2])
            np.testing.assert_array_equal(after.segments[:, 2::3], expected[:, 1::2])
