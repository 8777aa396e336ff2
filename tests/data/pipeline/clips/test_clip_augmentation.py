"""Augmentation of clips: one map and one change of colour for all frames, as torchvision and Pillow make them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data.pipeline.clips.augmentation import (
    ClipAugmentation,
    Path,
    affine,
    along_path,
    augmented,
    evaluation_fit,
    moved,
    resized,
)
from data.pipeline.clips.clip import Clip
from data.pipeline.clips.colour import Colours, Jitter, gray
from tests.data.conftest import noise
from tests.messages import one_line

SIDE = 64
STILL = evaluation_fit(SIDE)


def clip(frames=3, side=SIDE, seed=0) -> Clip:
    """Frames alike, whose red channel is the first mask and green the second; blue is noise."""
    masks = np.zeros((frames, 2, side, side), np.uint8)
    masks[:, 0, 10:40, 20:36], masks[:, 1, 30:50, 30:60] = 1, 1
    images = np.zeros((frames, side, side, 3), np.uint8)
    images[..., 0], images[..., 1] = 200 * masks[:, 0], 200 * masks[:, 1]
    images[..., 2] = noise(seed, side, side)[..., 2]
    return Clip(images, masks, "a")


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_augmentation_nothing_changes():
    before = clip()
    after = augmented(before, STILL, rng())
    assert (after.images == before.images).all() and (after.masks == before.masks).all()


def test_a_flip_is_of_all_frames():
    before, flips = clip(), 0
    for seed in range(40):
        after = augmented(before, dataclasses.replace(STILL, flip=0.5), rng(seed))
        flipped = (after.masks == before.masks[..., ::-1]).all()
        assert (after.images == (before.images[:, :, ::-1] if flipped else before.images)).all()
        assert flipped or (after.masks == before.masks).all()
        flips += flipped
    assert 10 < flips < 30


def test_images_and_masks_move_together_and_all_frames_alike():
    aug = dataclasses.replace(STILL, degrees=25, shear=20, flip=0.5, fill=(0, 0, 0))
    moves = set()
    for seed in range(15):
        after = augmented(clip(), aug, rng(seed))
        assert (after.images == after.images[:1]).all() and (after.masks == after.masks[:1]).all()
        for channel in (0, 1):  # Linear and nearest agree at half.
            assert ((after.images[0, ..., channel] >= 100) != after.masks[0, channel]).mean() < 0.01
        moves.add(after.masks.tobytes())
    assert len(moves) == 15


@pytest.mark.parametrize(("degrees", "shear"), [(20, 0), (0, 15), (-13, 8)])
def test_the_map_is_that_of_torchvision(degrees, shear):
    """`torchvision.transforms.functional.affine`: the matrix as its documentation gives it, pixel by pixel."""
    a, s, middle = np.deg2rad(degrees), np.deg2rad(shear), (SIDE - 1) / 2
    source = clip(1).masks[0, 0]
    expected = np.zeros_like(source)
    forward = np.array(
        [[np.cos(a), -np.cos(a) * np.tan(s) - np.sin(a)], [np.sin(a), -np.sin(a) * np.tan(s) + np.cos(a)]]
    )
    back = np.linalg.inv(forward)
    for y in range(SIDE):
        for x in range(SIDE):
            u, v = np.rint(back @ [x - middle, y - middle] + middle).astype(int)
            if 0 <= u < SIDE and 0 <= v < SIDE:
                expected[y, x] = source[v, u]
    found = moved(clip(1), [affine(degrees, shear, SIDE)], (0, 0, 0)).masks[0, 0]
    assert (found != expected).sum() <= 4  # Ties of rounding.


def test_a_map_that_would_lose_an_object_of_frame_0_is_left_out():
    before = clip()
    masks = np.zeros_like(before.masks)
    masks[:, 0, 0, 0], masks[1:, 1, 20:, 20:] = 1, 1
    before = dataclasses.replace(before, masks=masks)  # A corner, which most turns lose; and one that comes later.
    aug = dataclasses.replace(STILL, degrees=25, shear=0)
    kept = [augmented(before, aug, rng(seed)) for seed in range(10)]
    assert all(after.masks[0, 0].any() for after in kept)
    assert sum((after.masks == masks).all() for after in kept) >= 8


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("factor", [0.7, 0.97, 1.2])
def test_colours_change_as_in_pillow(place, factor):
    image = noise(3, 30, 20)
    enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[place]
    factors = [1.0, 1.0, 1.0]
    factors[place] = factor
    found = Colours(tuple(factors), (2, 0, 1)).apply(image).astype(int)
    assert np.abs(found - np.asarray(enhance(Image.fromarray(image)).enhance(factor), int)).max() <= 1
    assert np.abs(gray(image)[..., 1].astype(int) - np.asarray(Image.fromarray(image).convert("L"), int)).max() <= 1


def test_colours_are_drawn_in_their_ranges_and_in_any_order():
    drawn = [Colours.draw(Jitter(0.1, 0.03, 0.5), rng(seed)) for seed in range(300)]
    factors = np.array([colours.factors for colours in drawn])
    np.testing.assert_allclose(factors.min(0), [0.9, 0.97, 0.5], atol=0.02)
    np.testing.assert_allclose(factors.max(0), [1.1, 1.03, 1.5], atol=0.02)
    assert len({colours.order for colours in drawn}) == 6


def test_one_change_of_colour_for_the_clip_and_one_for_each_frame():
    before = clip()
    together = augmented(before, dataclasses.replace(STILL, jitter=Jitter(0.3, 0.3, 0.3)), rng(1))
    assert (together.images == together.images[:1]).all() and (together.images != before.images).any()
    apart = augmented(before, dataclasses.replace(STILL, frame_jitter=Jitter(0.3, 0.3, 0.3)), rng(1))
    assert len({image.tobytes() for image in apart.images}) == 3
    grays = 0
    for seed in range(200):
        after = augmented(before, dataclasses.replace(STILL, gray=0.1), rng(seed)).images
        without = (after == after[..., :1]).all((1, 2, 3))
        assert without.all() or not without.any()
        grays += without.all()
    assert 8 < grays < 35
    assert (together.masks == before.masks).all() and (apart.masks == before.masks).all()


@pytest.mark.parametrize("shape", [(128, 64), (40, 96), (20, 30)])
def test_frames_are_resized_to_a_square_whatever_their_shape(shape):
    height, width = shape
    masks = np.zeros((2, 1, *shape), np.uint8)
    masks[:, :, : height // 2, width // 2 :] = 1
    images = np.repeat(200 * masks[:, 0, ..., None], 3, -1)
    after = resized(Clip(images, masks, "a"), SIDE)
    assert after.images.shape == (2, SIDE, SIDE, 3) and after.masks.shape == (2, 1, SIDE, SIDE)
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[: SIDE // 2, SIDE // 2 :] = 1
    assert (after.masks != expected).mean() < 0.03
    assert ((after.images[0, ..., 0] >= 100) != expected).mean() < 0.04


def test_a_still_moves_along_a_smooth_path():
    before, reversals = clip(1), 0
    for seed in range(20):
        after = along_path(before, 8, Path(), 0.5, (0, 0, 0), rng(seed))
        assert len(after.images) == 8 and after.masks.shape[1] in (1, 2) and after.masks[0].any((1, 2)).all()
        backward = not (after.images[0] == before.images[0]).all()
        assert (after.images[-1 if backward else 0] == before.images[0]).all()
        reversals += backward
        middles = []
        for image, masks in zip(after.images, after.masks, strict=True):
            for channel, mask in enumerate(masks if len(masks) == 2 else ()):
                assert ((image[..., channel] >= 100) != mask).mean() < 0.02
            middles.append(np.argwhere(masks.any(0)).mean(0))
        steps = np.linalg.norm(np.diff(middles, axis=0), axis=1)
        assert steps.max() < 0.2 * SIDE and steps.sum() > 1
    assert 4 < reversals < 16
    same = along_path(before, 8, Path(0, 0, 0), 0.5, (0, 0, 0), rng(0))
    assert (same.images == before.images).all() and (same.masks == before.masks).all()


def test_a_path_is_not_reversed_where_no_object_is_left():
    before = clip(1)
    masks = np.zeros_like(before.masks)
    masks[:, :, 0, 0] = 1
    before = dataclasses.replace(before, masks=masks)
    for seed in range(20):
        assert along_path(before, 8, Path(shift=0.9), 1.0, (0, 0, 0), rng(seed)).masks[0].any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 20}, "image_size is 20"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"gray": -1}, "gray is -1"),
        ({"shear": 90}, "shear 90"),
    ],
)
def test_augmentations_that_are_none(wrong, message):
    one_line(lambda: ClipAugmentation(**wrong), message)
