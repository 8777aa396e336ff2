"""Augmentation: exact on small cases, and always one affine map for image, segments and boxes."""

import dataclasses

import numpy as np
import pytest

from data.example import NO_TARGET, VOID, Example
from data.pipeline.augmentation.colour import DRAWS
from data.pipeline.masks import Masks
from data.pipeline.transforms import MIN_AREA, Augmentation, augment, evaluation_fit
from dataseg_jax.errors import InputError


class Fixed:
    """A generator whose draws are given: flip, jitter, down, across."""

    def __init__(self, *draws):
        self.draws = draws

    def random(self, count):
        assert count == len(self.draws) + DRAWS
        return np.array([*self.draws, *[0.9] * DRAWS])


def example(segments=None, boxes=None, image=None, labels=None) -> Example:
    if segments is not None:
        count = max(0, int(segments.max()) + 1)
        boxes = np.zeros((count, 4), np.float32)
        for index in range(count):
            y, x = np.nonzero(segments == index)
            boxes[index] = x.min(), y.min(), x.max() + 1, y.max() + 1
        segments = segments.astype(np.int32)
    if image is None:
        shape = segments.shape if segments is not None else (20, 30)
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    labels = np.arange(len(boxes), dtype=np.int32) if labels is None else labels
    return Example(image, 7, "x.png", labels, boxes, segments)


def rectangles(seed, height=40, width=56) -> tuple[Example, Example]:
    """Rectangles that do not touch, as segments and as boxes."""
    rng = np.random.default_rng(seed)
    segments = np.full((height, width), VOID)
    for index, (row, column) in enumerate((r, c) for r in range(2) for c in range(2)):
        y0, x0 = row * 20 + rng.integers(0, 6), column * 28 + rng.integers(0, 9)
        segments[y0 : y0 + rng.integers(9, 14), x0 : x0 + rng.integers(9, 19)] = index
    masks = example(segments)
    return masks, example(boxes=masks.boxes, image=masks.image)


def test_padding_has_the_colour_that_is_asked_for():
    before = example(np.zeros((4, 8), int))
    after, size = augment(before, Augmentation((8, 8), 0, (1, 1), fill=(9, 8, 7)), np.random.default_rng(0))
    assert size == (4, 8) and (after.image[4:] == (9, 8, 7)).all() and (after.segments[4:] == VOID).all()
    with pytest.raises(InputError, match="fill must be a colour"):
        Augmentation((8, 8), fill=(0, 0, 256))


def test_same_size_without_flip_changes_nothing():
    before = example(np.arange(12).reshape(3, 4).repeat(4, 0).repeat(4, 1))
    after, size = augment(before, evaluation_fit((12, 16)), Fixed(0.0, 0.5, 0.3, 0.9))
    assert size == (12, 16)
    for field in ("image", "segments", "boxes", "labels"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    assert (after.image_id, after.file) == (7, "x.png")


def test_flip_mirrors_everything():
    segments = np.full((8, 12), VOID)
    segments[2:6, 1:5] = 0
    for before in (example(segments), example(boxes=[[1, 2, 5, 6]], image=example(segments).image)):
        after, _ = augment(before, Augmentation((8, 12), 0.5, (1, 1)), Fixed(0.49, 0, 0, 0))
        np.testing.assert_array_equal(after.image, before.image[:, ::-1])
        np.testing.assert_array_equal(after.boxes, [[7, 2, 11, 6]])
        if before.segments is not None:
            np.testing.assert_array_equal(after.segments, segments[:, ::-1])
    kept, _ = augment(before, Augmentation((8, 12), 0.5, (1, 1)), Fixed(0.5, 0, 0, 0))
    np.testing.assert_array_equal(kept.image, before.image)


def test_evaluation_fit_keeps_the_aspect_ratio_and_pads_with_void():
    segments = np.zeros((4, 8), int)
    segments[:, 4:] = 1
    after, size = augment(example(segments), evaluation_fit((16, 16)), np.random.default_rng(0))
    assert size == (8, 16)
    np.testing.assert_array_equal(after.segments[:8], segments.repeat(2, 0).repeat(2, 1))
    assert (after.segments[8:] == VOID).all() and (after.image[8:] == 0).all() and (after.image[:8] > 0).any()
    np.testing.assert_array_equal(after.boxes, [[0, 0, 8, 8], [8, 0, 16, 8]])
    tall, size = augment(example(segments.T), evaluation_fit((16, 16)), np.random.default_rng(0))
    assert size == (16, 8) and (tall.segments[:, 8:] == VOID).all()


def test_shrinking_averages_the_image():
    before = example(np.zeros((8, 12), int))
    after, size = augment(before, Augmentation((8, 12), 0, (0.5, 0.5)), Fixed(0.9, 0, 0, 0))
    assert size == (4, 6)
    mean = before.image.reshape(4, 2, 6, 2, 3).mean((1, 3))
    np.testing.assert_allclose(after.image[:4, :6], mean, atol=0.51)


def test_crop_of_an_enlarged_image():
    segments = np.arange(6).reshape(2, 3).repeat(4, 0).repeat(4, 1)
    after, size = augment(example(segments), Augmentation((8, 12), 0, (1, 2)), Fixed(0.9, 1.0, 0.5, 1 / 6))
    assert size == (8, 12)
    np.testing.assert_array_equal(after.segments, segments_numbered(segments.repeat(2, 0).repeat(2, 1)[4:12, 2:14]))
    np.testing.assert_array_equal(after.labels, [0, 1, 3, 4])
    np.testing.assert_array_equal(after.boxes, [[0, 0, 6, 4], [6, 0, 12, 4], [0, 4, 6, 8], [6, 4, 12, 8]])


def segments_numbered(segments):
    """The values renumbered 0, 1, ... in rising order."""
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape)


@pytest.mark.parametrize("seed", range(30))
def test_box_of_moved_segments_is_the_moved_box_within_a_pixel(seed):
    masks, boxes = rectangles(seed)
    aug = Augmentation((48, 64), 0.5, (0.3, 2.0))
    moved_masks, size = augment(masks, aug, np.random.default_rng(seed))
    moved_boxes, other_size = augment(boxes, aug, np.random.default_rng(seed))
    assert size == other_size
    np.testing.assert_array_equal(moved_masks.image, moved_boxes.image)
    by_label = dict(zip(moved_boxes.labels.tolist(), moved_boxes.boxes, strict=True))
    common = [label for label in moved_masks.labels.tolist() if label in by_label]
    assert common
    for label, box in zip(moved_masks.labels.tolist(), moved_masks.boxes, strict=True):
        if label in by_label:
            assert np.abs(box - by_label[label]).max() <= 1.0


@pytest.mark.parametrize("seed", range(10))
def test_every_pixel_shows_the_segment_that_the_inverse_map_finds(seed):
    masks, _ = rectangles(seed)
    aug = Augmentation((48, 64), 0.5, (0.3, 2.0))
    after, size = augment(masks, aug, np.random.default_rng(seed))
    flip, factor, down, across = np.random.default_rng(seed).random(4)
    ratio = min(48, 64 * 40 / 56) / 40 * (0.3 + 1.7 * factor)
    (top, rows, height), (left, columns, width) = (
        (0, length, round(length * ratio))
        if round(length * ratio) <= room
        else (round(place * (length - round(room / ratio))), round(room / ratio), room)
        for length, room, place in ((40, 48, down), (56, 64, across))
    )
    assert size == (height, width)
    for y in range(height):
        for x in range(width):
            source_y, rest_y = divmod((2 * y + 1) * rows, 2 * height)
            source_x, rest_x = divmod((2 * (width - 1 - x if flip < 0.5 else x) + 1) * columns, 2 * width)
            if rest_y == 0 or rest_x == 0:
                continue  # The centre falls between two pixels: either is right.
            expected = masks.segments[top + source_y, left + source_x]
            label = after.segments[y, x]
            if label == NO_TARGET:
                assert expected >= 0 and (after.labels != expected).all()
            else:
                assert expected == (VOID if label == VOID else after.labels[label])


@pytest.mark.parametrize("seed", range(5))
def test_image_moves_with_its_segments(seed):
    # A bright square on black is a target: afterwards its segment is where the image is bright.
    segments = np.full((40, 56), VOID)
    segments[10:30, 12:40] = 0
    image = np.repeat((segments == 0)[..., None] * np.uint8(250), 3, axis=2)
    aug = Augmentation((48, 64), 0.5, (0.5, 1.5))
    after, _ = augment(example(segments, image=image), aug, np.random.default_rng(seed))
    bright, dark = after.image[..., 0] > 140, after.image[..., 0] < 60  # Edges are blurred.
    assert (after.segments[bright] == 0).all() and (after.segments[dark] == VOID).all()
    assert (bright | dark).mean() > 0.9 and bright.any() and dark.any()


@pytest.mark.parametrize("factor", [0.37, 0.5, 0.61, 0.99])
def test_a_box_around_the_image_stays_around_it(factor):
    # The scaled sides are rounded to pixels, each by its own amount.
    before = example(boxes=[[0, 0, 33, 17]], image=np.zeros((17, 33, 3), np.uint8))
    after, size = augment(before, Augmentation((40, 40), 0.5, (factor, factor)), np.random.default_rng(0))
    np.testing.assert_allclose(after.boxes, [[0, 0, size[1], size[0]]], rtol=1e-6)


def test_small_segments_become_pixels_of_no_target():
    segments = np.full((8, 12), VOID)
    segments[0:2, 0:4] = 0
    segments[4, 0 : int(MIN_AREA) - 1] = 1
    segments[6:8, 0:6] = 2
    after, _ = augment(example(segments), evaluation_fit((8, 12)), np.random.default_rng(0))
    np.testing.assert_array_equal(after.labels, [0, 2])
    np.testing.assert_array_equal(after.boxes, [[0, 0, 4, 2], [0, 6, 6, 8]])
    expected = np.where(segments == 1, NO_TARGET, np.where(segments == 2, 1, segments))
    np.testing.assert_array_equal(after.segments, expected)


def test_slivers_of_boxes_are_dropped():
    boxes = [
        [0, 0, 6.5, 8],  # 0.5 pixels are left of the crop at x = 6.
        [0, 0, 7.5, 8],  # 1.5 of 7.5 pixels are left: kept.
        [0, 0, 24, 0.9],  # Thinner than a pixel.
        [0, 0, 24, 1.2],
        [-60, 0, 8, 8],  # 2 of 68 pixels, under 5%.
        [19, 0, 24, 8],  # Right of the crop.
    ]
    before = example(boxes=boxes, image=np.zeros((8, 24, 3), np.uint8))
    # The image fits its input in height only: 24 pixels are cropped to 12, from 6 on.
    after, size = augment(before, Augmentation((8, 12), 0, (2, 2)), Fixed(0.9, 0, 0.5, 0.5))
    assert size == (8, 12)
    np.testing.assert_array_equal(after.labels, [1, 3])
    np.testing.assert_allclose(after.boxes, [[0, 0, 1.5, 8], [0, 0, 12, 1.2]], rtol=1e-6)


def test_an_image_shrunk_to_nothing_keeps_a_pixel():
    after, size = augment(example(np.zeros((2, 300), int)), evaluation_fit((16, 16)), np.random.default_rng(0))
    assert size == (1, 16) and (after.segments[0] == 0).all()


def test_the_same_generator_gives_the_same_image():
    masks, _ = rectangles(0)
    aug = Augmentation((32, 32))
    first, again = (augment(masks, aug, np.random.default_rng(5))[0] for _ in range(2))
    other, _ = augment(masks, aug, np.random.default_rng(6))
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != other.image).any()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"image_size": (30, 32)}, "multiples of 4"),
        ({"image_size": (0, 32)}, "multiples of 4"),
        ({"image_size": (32, 32), "flip": 1.5}, "probability"),
        ({"image_size": (32, 32), "scale": (0, 1)}, "0 < low <= high"),
        ({"image_size": (32, 32), "scale": (2, 1)}, "0 < low <= high"),
        ({"image_size": (32, 32), "colour": 1.5}, "strength from 0 to 1"),
        ({"image_size": (32, 32), "min_area": 0}, "at least 1 pixel"),
    ],
)
def test_augmentations_that_make_no_sense(arguments, line):
    with pytest.raises(InputError, match=line):
        Augmentation(**arguments)


def overlapping(seed, height=40, width=56, count=5) -> Example:
    """Ellipses and specks that overlap one another, a crowd that is void, on pixels of no target."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks, boxes = np.zeros((count, height, width), np.uint8), np.zeros((count, 4), np.float32)
    for mask, box in zip(masks, boxes, strict=True):
        cy, cx, ry, rx = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(1, 20), rng.uniform(1, 20)
        mask[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = 1
        mask[rng.integers(0, height, 2), rng.integers(0, width, 2)] = 1
        rows, columns = np.nonzero(mask)
        box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    segments = np.full((height, width), NO_TARGET, np.int32)
    segments[25:, 40:] = VOID
    segments[masks.any(0)] = NO_TARGET
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    masks = Masks.encode(masks, (height, width))
    return Example(image, 7, "x.png", np.arange(count, dtype=np.int32), boxes, segments, masks)


@pytest.mark.parametrize("draws", [(0.9, 0, 0.3, 0.6), (0.1, 0, 0.3, 0.6)])
def test_masks_of_the_same_scale_are_cropped_and_flipped_by_slices(draws):
    # The image fits in width alone: 24 of its 40 rows are shown, 56 of 56 columns and 8 of padding.
    before = overlapping(1)
    after, size = augment(before, Augmentation((24, 64), 0.5, (40 / 24, 40 / 24)), Fixed(*draws))
    assert size == (24, 56)
    top = round(0.3 * 16)
    cut = np.asarray(before.masks)[:, top : top + 24, :: -1 if draws[0] < 0.5 else 1]
    keep = [s for s in range(5) if cut[s].sum() >= MIN_AREA]
    assert after.labels.tolist() == keep and np.shape(after.masks) == (len(keep), 24, 64)
    np.testing.assert_array_equal(np.asarray(after.masks)[:, :, :56], cut[keep])
    assert not np.asarray(after.masks)[:, :, 56:].any() and (after.segments[:, 56:] == VOID).all()
    np.testing.assert_array_equal(
        after.segments[:, :56], before.segments[top : top + 24, :: -1 if draws[0] < 0.5 else 1]
    )


@pytest.mark.parametrize("seed", range(20))
def test_each_overlapping_mask_moves_as_a_map_of_it_alone_would(seed):
    before = overlapping(seed)
    aug = Augmentation((48, 64), 0.5, (0.3, 2.0))
    after, size = augment(before, aug, np.random.default_rng(seed))
    kept = dict(zip(after.labels.tolist(), range(len(after.labels)), strict=True))
    for target, mask in enumerate(before.masks):
        alone = example(np.where(mask, 0, NO_TARGET), image=before.image)
        expected, other_size = augment(alone, aug, np.random.default_rng(seed))
        assert size == other_size and (target in kept) == (len(expected.labels) == 1)
        if target in kept:
            np.testing.assert_array_equal(after.masks[kept[target]], expected.segments == 0)
            np.testing.assert_array_equal(after.boxes[kept[target]], expected.boxes[0])
    assert set(np.unique(after.masks)) <= {0, 1} and after.segments.max() < 0


def test_masks_without_a_target_left():
    before = overlapping(0, count=1)
    before = dataclasses.replace(before, masks=Masks.encode(np.zeros((1, 40, 56)), (40, 56)))
    after, _ = augment(before, evaluation_fit((16, 16)), np.random.default_rng(0))
    assert np.shape(after.masks) == (0, 16, 16) and after.boxes.shape == (0, 4) and len(after.labels) == 0


@pytest.mark.parametrize("count", [127, 128, 40000])
def test_segments_keep_their_numbers_whatever_type_holds_them(count):
    segments = np.repeat(np.arange(200, dtype=np.int32) % count, 8).reshape(40, 40)
    labels = np.arange(count, dtype=np.int32)
    before = Example(np.zeros((40, 40, 3), np.uint8), 1, "x", labels, np.zeros((count, 4), np.float32), segments)
    after, _ = augment(before, evaluation_fit((40, 40)), np.random.default_rng(0))
    np.testing.assert_array_equal(after.labels[after.segments], labels[segments])
    assert len(after.labels) == min(count, 200)
    if count == 127:
        assert after.segments.dtype == np.int8


def test_colours_change_and_nothing_else_does():
    masks, _ = rectangles(0)
    for scale in (0.4, 1.7):
        plain, jittered = (
            augment(masks, Augmentation((48, 64), scale=(scale, scale), colour=c), np.random.default_rng(3))[0]
            for c in (0.0, 1.0)
        )
        assert (plain.image != jittered.image).mean() > 0.05
        np.testing.assert_array_equal(plain.segments, jittered.segments)
        np.testing.assert_array_equal(plain.boxes, jittered.boxes)


def test_min_area_is_a_setting():
    segments = np.full((8, 12), VOID)
    segments[0:2, 0:6], segments[4:8, 0:6] = 0, 1
    boxes = example(segments).boxes
    for before in (example(segments), example(boxes=boxes, image=np.zeros((8, 12, 3), np.uint8))):
        for min_area, labels in ((12, [0, 1]), (13, [1]), (25, [])):
            after, _ = augment(before, Augmentation((8, 12), 0, (1, 1), min_area=min_area), np.random.default_rng(0))
            assert after.labels.tolist() == labels


def test_as_many_numbers_are_drawn_whatever_happens():
    states = []
    for colour, scale, before in (
        (0.0, 0.1, rectangles(0)[0]),
        (1.0, 2.0, rectangles(1)[1]),
        (1.0, 1.0, overlapping(2)),
    ):
        rng = np.random.default_rng(0)
        augment(before, Augmentation((32, 32), scale=(scale, scale), colour=colour), rng)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1] == states[2]
