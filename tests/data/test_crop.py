"""The affine map of an augmentation: exact small cases, and inverted again by arithmetic of the test's own."""

import cv2
import numpy as np
import pytest

from data.pipeline.crop import Window, choose


def test_an_image_that_fits_is_taken_whole():
    for factor, size in ((1.0, (10, 20)), (0.5, (5, 10)), (0.05, (1, 1))):
        window = choose(20, 40, (16, 20), factor=factor, down=0.7, across=0.2, flip=False)
        assert (window.top, window.left, window.height, window.width, window.size) == (0, 0, 20, 40, size)


def test_the_longer_side_is_cropped_first():
    # Fitted into 16 x 20 the image is 10 x 20; twice that is 20 x 40, of which 16 x 20 = 16 x 20 pixels are shown.
    window = choose(20, 40, (16, 20), factor=2.0, down=0.5, across=0.25, flip=True)
    assert window == Window(top=2, left=5, height=16, width=20, size=(16, 20), flip=True)
    # Three times: one pixel of the image is 1.5 of the input, so 10 2/3 x 13 1/3 pixels are shown.
    window = choose(20, 40, (16, 20), factor=3.0, down=1.0, across=1.0, flip=False)
    assert window == Window(top=9, left=27, height=11, width=13, size=(16, 20))


def test_points_of_the_corners():
    window = Window(top=2, left=5, height=8, width=10, size=(16, 40))
    np.testing.assert_array_equal(window.points([5, 15, 10], [2, 10, 6]), [[0, 40, 20], [0, 16, 8]])
    mirrored = Window(top=2, left=5, height=8, width=10, size=(16, 40), flip=True)
    np.testing.assert_array_equal(mirrored.points([5, 15, 7], [2, 10, 6]), [[40, 0, 32], [0, 16, 8]])


def random_window(seed: int) -> tuple[Window, int, int, tuple[int, int], float]:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(30, 250, 2))
    room = int(rng.integers(8, 60)) * 4, int(rng.integers(8, 60)) * 4
    factor = float(rng.uniform(0.1, 2.0))
    down, across = rng.random(2)
    window = choose(height, width, room, factor=factor, down=down, across=across, flip=bool(rng.integers(2)))
    return window, height, width, room, factor


@pytest.mark.parametrize("seed", range(50))
def test_every_window_lies_in_its_image_and_keeps_the_asked_scale(seed):
    window, height, width, room, factor = random_window(seed)
    assert 0 <= window.top <= window.top + window.height <= height
    assert 0 <= window.left <= window.left + window.width <= width
    assert 1 <= window.size[0] <= room[0] and 1 <= window.size[1] <= room[1]
    ratio = min(room[0] * factor / height, room[1] * factor / width)
    for shown, side, length, most in zip(
        (window.height, window.width), window.size, (height, width), room, strict=True
    ):
        assert abs(shown * ratio - side) <= 0.5 * max(1, ratio) + 1e-9
        assert shown == length or side == most  # Only what finds no room is cropped.


@pytest.mark.parametrize("seed", range(50))
def test_an_image_of_its_own_coordinates_says_where_every_pixel_came_from(seed):
    window, height, width, _, _ = random_window(seed)
    # Red is the column and green the row, so the colour of an input pixel is the place in the image it shows.
    image = np.zeros((height, width, 3), np.float32)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    moved = window.resized(window.of(image), cv2.INTER_AREA if window.shrinks else cv2.INTER_LINEAR)
    v, u = np.mgrid[: window.size[0], : window.size[1]] + 0.5  # Centres.
    if window.flip:
        u = window.size[1] - u
    x = window.left + u * window.width / window.size[1]
    y = window.top + v * window.height / window.size[0]
    # A tenth of a pixel; at the edge of the window nothing lies beyond the centre of its last pixel.
    inside = (x - window.left > 0.5) & (window.left + window.width - x > 0.5)
    inside &= (y - window.top > 0.5) & (window.top + window.height - y > 0.5)
    assert inside.any()
    assert np.abs(moved[..., 0] + 0.5 - x)[inside].max() <= 0.1
    assert np.abs(moved[..., 1] + 0.5 - y)[inside].max() <= 0.1
    back = window.points(x, y)
    np.testing.assert_allclose(back, np.stack([window.size[1] - u if window.flip else u, v]), atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_sources_are_the_pixels_that_resizing_takes(seed):
    window, height, width, _, _ = random_window(seed)
    values = np.random.default_rng(seed).integers(-2, 100, (height, width)).astype(np.int8)
    rows, columns = window.sources()
    expected = window.of(values)[rows][:, columns]
    expected = expected[:, ::-1] if window.flip else expected
    np.testing.assert_array_equal(window.resized(window.of(values), cv2.INTER_NEAREST_EXACT), expected)
    # Nearest: the centre of an input pixel lies in its source, or on its edge.
    for source, shown, side in ((rows, window.height, window.size[0]), (columns, window.width, window.size[1])):
        centre = (np.arange(side) + 0.5) * shown / side
        assert ((source <= centre + 1e-2) & (centre - 1e-2 <= source + 1)).all()


@pytest.mark.parametrize("seed", range(10))
def test_flipping_twice_changes_nothing(seed):
    window, height, width, _, _ = random_window(seed)
    mirror = Window(0, 0, *window.size, window.size, flip=True)
    plain, mirrored = (Window(**{**vars(window), "flip": flip}) for flip in (False, True))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    once = mirrored.resized(mirrored.of(image), cv2.INTER_LINEAR)
    np.testing.assert_array_equal(mirror.resized(once, cv2.INTER_LINEAR), plain.resized(plain.of(image), 1))
    x, y = np.random.default_rng(seed).uniform(0, 30, (2, 20))
    np.testing.assert_allclose(mirror.points(*mirrored.points(x, y)), plain.points(x, y), atol=1e-9)
