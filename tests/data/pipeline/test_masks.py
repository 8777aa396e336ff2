"""Masks as run lengths do what arrays do, pixel by pixel."""

import numpy as np
import pytest
from pycocotools import mask as rle

from data.pipeline.masks import Masks, code_of, run_lengths


def random_masks(seed):
    """Noise of several densities, rectangles, stripes, one of every pixel and one of none, uint8[S, H, W]."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 50, 2)
    masks = [rng.random((height, width)) < share for share in (0.02, 0.4, 0.97)]
    for _ in range(3):
        mask = np.zeros((height, width), bool)
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 30)] = 1
        masks.append(mask)
    rows, columns = np.zeros((height, width), bool), np.zeros((height, width), bool)
    rows[::2], columns[:, ::2] = 1, 1  # Runs that go over the ends of columns, and such that end there.
    return np.array([*masks, rows, columns, columns | rows, np.ones_like(rows), np.zeros_like(rows)], np.uint8)


def boxes_of(dense):
    found = []
    for mask in dense:
        y, x = np.nonzero(mask)
        found.append((x.min(), y.min(), x.max() + 1, y.max() + 1) if len(x) else None)
    return found


def assert_are(masks, dense):
    """All that can be asked of masks, against arrays."""
    assert len(masks) == len(dense) and masks.size == dense.shape[1:]
    np.testing.assert_array_equal(masks.areas, dense.sum((1, 2)))
    assert masks.boxes.shape == (len(dense), 4)
    for mask, own, box, expected in zip(masks, dense, masks.boxes, boxes_of(dense), strict=True):
        np.testing.assert_array_equal(mask, own)
        assert mask.dtype == np.uint8 and mask.flags.c_contiguous
        assert tuple(box) == expected if expected else (box[2:] == box[:2]).any()
    for code in masks.codes:  # What `boxes` relies on.
        assert run_lengths(code["counts"])[1:].all()


@pytest.mark.parametrize("seed", range(12))
def test_samples_are_those_of_arrays(seed):
    dense = random_masks(seed)
    rng = np.random.default_rng(100 + seed)
    height, width = dense.shape[1:]
    masks = Masks.encode(dense, (height, width))
    assert_are(masks, dense)
    rows = np.sort(rng.integers(0, height, rng.integers(1, 2 * height + 1)))
    columns = np.sort(rng.integers(0, width, rng.integers(1, 2 * width + 1)))
    flip, more = bool(seed % 2), rng.integers(0, 5, 2)
    size = len(rows) + int(more[0]), len(columns) + int(more[1])
    sampled = masks.sampled(rows, columns, size, flip)
    expected = np.zeros((len(dense), *size), np.uint8)
    expected[:, : len(rows), : len(columns)] = dense[:, rows][:, :, columns[::-1] if flip else columns]
    assert_are(sampled, expected)
    # Once more, of masks that are stored as parts of an image.
    again = sampled.sampled(np.arange(1, size[0]), np.arange(size[1]))
    assert_are(again, expected[:, 1:])


@pytest.mark.parametrize("seed", range(6))
def test_unions_of_parts_are_those_of_arrays(seed):
    dense = random_masks(seed)
    rng = np.random.default_rng(200 + seed)
    height, width = dense.shape[1:]
    whole = Masks.encode(dense, (height, width))
    for masks in (whole, whole.sampled(np.arange(height), np.arange(width))):
        np.testing.assert_array_equal(masks.union(range(len(dense))), dense.any(0))
        for _ in range(30):
            y0, y1 = np.sort(rng.integers(0, height + 1, 2)).tolist()
            x0, x1 = np.sort(rng.integers(0, width + 1, 2)).tolist()
            members = np.flatnonzero(rng.random(len(dense)) < 0.3).tolist()
            part = slice(y0, y1), slice(x0, x1)
            expected = dense[members][:, *part].any(0) if members else np.zeros((y1 - y0, x1 - x0))
            np.testing.assert_array_equal(masks.union(members, part), expected)


def test_some_masks_are_taken_by_place_by_flag_and_by_slice():
    dense = random_masks(3)
    masks = Masks.encode(dense, dense.shape[1:])
    flags = np.arange(len(dense)) % 3 == 0
    for key in ([4, 0], flags, slice(2, 7, 2), np.zeros(0, int)):
        np.testing.assert_array_equal(np.asarray(masks[key]), dense[key])
    np.testing.assert_array_equal(masks[-1], dense[-1])
    with pytest.raises(IndexError):
        masks[len(dense)]
    order = [target for target, _ in masks.largest_first()]
    assert order == sorted(range(len(dense)), key=lambda target: -int(dense[target].sum()))


def test_more_masks_than_a_byte_counts():
    dense = np.zeros((300, 6, 5), np.uint8)
    dense[np.arange(300), np.arange(300) % 6, 2] = 1
    assert_are(Masks.encode(dense, (6, 5)), dense)


@pytest.mark.parametrize("seed", range(8))
def test_runs_of_length_0_change_nothing(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 3, 40)
    counts = np.append(counts, 60 - counts.sum() % 60)
    width = int(counts.sum()) // 60
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    code = code_of(counts, 60, width)
    assert run_lengths(code["counts"])[1:].all()
    np.testing.assert_array_equal(rle.decode(code), flat.reshape(width, 60).T)
    assert_are(Masks.whole([code], (60, width)), flat.reshape(1, width, 60).transpose(0, 2, 1).astype(np.uint8))
