"""The affine map of an augmentation: exact small cases, and inverted again by arithmetic of the test's own."""

import cv2
import numpy as np
import pytest

from data.pipeline.augmentation.crop import Crop, choose_crop


def test_an_image_that_fits_is_taken_whole():
    for factor, size in ((1.0, (10, 20)), (0.5, (5, 10)), (0.05, (1, 1))):
        crop = choose_crop(20, 40, (16, 20), factor=factor, down=0.7, across=0.2, flip=False)
        assert (crop.top, crop.left, crop.height, crop.width, crop.size) == (0, 0, 20, 40, size)


def test_the_longer_side_is_cropped_first():
    # Fitted into 16 x 20 the image is 10 x 20; twice that is 20 x 40, of which 16 x 20 = 16 x 20 pixels are shown.
    crop = choose_crop(20, 40, (16, 20), factor=2.0, down=0.5, across=0.25, flip=True)
    assert crop == Crop(top=2, left=5, height=16, width=20, size=(16, 20), flip=True)
    # Three times: one pixel of the image is 1.5 of the input, so 10 2/3 x 13 1/3 pixels are shown.
    crop = choose_crop(20, 40, (16, 20), factor=3.0, down=1.0, across=1.0, flip=False)
    assert crop == Crop(top=9, left=27, height=11, width=13, size=(16, 20))


def test_points_of_the_corners():
    crop = Crop(top=2, left=5, height=8, width=10, size=(16, 40))
    np.testing.assert_array_equal(crop.points([5, 15, 10], [2, 10, 6]), [[0, 40, 20], [0, 16, 8]])
    mirrored = Crop(top=2, left=5, height=8, width=10, size=(16, 40), flip=True)
    np.testing.assert_array_equal(mirrored.points([5, 15, 7], [2, 10, 6]), [[40, 0, 32], [0, 16, 8]])


def random_crop(seed: int) -> tuple[Crop, int, int, tuple[int, int], float]:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(30, 250, 2))
    room = int(rng.integers(8, 60)) * 4, int(rng.integers(8, 60)) * 4
    factor = float(rng.uniform(0.1, 2.0))
    down, across = rng.random(2)
    crop = choose_crop(height, width, room, factor=factor, down=down, across=across, flip=bool(rng.integers(2)))
    return crop, height, width, room, factor


@pytest.mark.parametrize("seed", range(50))
def test_every_crop_lies_in_its_image_and_keeps_the_asked_scale(seed):
    crop, height, width, room, factor = random_crop(seed)
    assert 0 <= crop.top <= crop.top + crop.height <= height
    assert 0 <= crop.left <= crop.left + crop.width <= width
    assert 1 <= crop.size[0] <= room[0] and 1 <= crop.size[1] <= room[1]
    ratio = min(room[0] * factor / height, room[1] * factor / width)
    for shown, side, length, most in zip((crop.height, crop.width), crop.size, (height, width), room, strict=True):
        assert abs(shown * ratio - side) <= 0.5 * max(1, ratio) + 1e-9
        assert shown == length or side == most  # Only what finds no room is cropped.


@pytest.mark.parametrize("seed", range(50))
def test_an_image_of_its_own_coordinates_says_where_every_pixel_came_from(seed):
    crop, height, width, _, _ = random_crop(seed)
    # Red is the column and green the row, so the colour of an input pixel is the place in the image it shows.
    image = np.zeros((height, width, 3), np.float32)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    moved = crop.resized(crop.of(image), cv2.INTER_AREA if crop.shrinks else cv2.INTER_LINEAR)
    v, u = np.mgrid[: crop.size[0], : crop.size[1]] + 0.5  # Centres.
    if crop.flip:
        u = crop.size[1] - u
    x = crop.left + u * crop.width / crop.size[1]
    y = crop.top + v * crop.height / crop.size[0]
    # A tenth of a pixel; at the edge of the crop nothing lies beyond the centre of its last pixel.
    inside = (x - crop.left > 0.5) & (crop.left + crop.width - x > 0.5)
    inside &= (y - crop.top > 0.5) & (crop.top + crop.height - y > 0.5)
    assert inside.any()
    assert np.abs(moved[..., 0] + 0.5 - x)[inside].max() <= 0.1
    assert np.abs(moved[..., 1] + 0.5 - y)[inside].max() <= 0.1
    back = crop.points(x, y)
    np.testing.assert_allclose(back, np.stack([crop.size[1] - u if crop.flip else u, v]), atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_sources_are_the_pixels_that_resizing_takes(seed):
    crop, height, width, _, _ = random_crop(seed)
    values = np.random.default_rng(seed).integers(-2, 100, (height, width)).astype(np.int8)
    rows, columns = crop.sources()
    expected = crop.of(values)[rows][:, columns]
    expected = expected[:, ::-1] if crop.flip else expected
    np.testing.assert_array_equal(crop.resized(crop.of(values), cv2.INTER_NEAREST_EXACT), expected)
    # Nearest: the centre of an input pixel lies in its source, or on its edge.
    for source, shown, side in ((rows, crop.height, crop.size[0]), (columns, crop.width, crop.size[1])):
        centre = (np.arange(side) + 0.5) * shown / side
        assert ((source <= centre + 1e-2) & (centre - 1e-2 <= source + 1)).all()


@pytest.mark.parametrize("seed", range(10))
def test_flipping_twice_changes_nothing(seed):
    crop, height, width, _, _ = random_crop(seed)
    mirror = Crop(0, 0, *crop.size, crop.size, flip=True)
    plain, mirrored = (Crop(**{**vars(crop), "flip": flip}) for flip in (False, True))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    once = mirrored.resized(mirrored.of(image), cv2.INTER_LINEAR)
    np.testing.assert_array_equal(mirror.resized(once, cv2.INTER_LINEAR), plain.resized(plain.of(image), 1))
    x, y = np.random.default_rng(seed).uniform(0, 30, (2, 20))
    np.testing.assert_allclose(mirror.points(*mirrored.points(x, y)), plain.points(x, y), atol=1e-9)
