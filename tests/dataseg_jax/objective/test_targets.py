"""Wire forms against plain loops over pixels, and against each other; boxes on the mask grid."""

import jax
import numpy as np
import pytest

from dataseg_jax.objective.targets import box_masks, expand_targets

B, G, H, W = 3, 5, 24, 16
expand = jax.jit(expand_targets)


def wire(seed, **form):
    """What all forms have in common; values that must come through as they are."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (B, H, W, 3)).astype(np.uint8),
        "size": np.array([[24, 16], [13, 7], [22, 1]], np.int32),
        "task": np.array([0, 2, 1], np.int32),
        "image_id": np.array([7, 5, 3], np.int32),
        "labels": rng.integers(0, 9, (B, G)).astype(np.int32),
        "boxes": rng.uniform(0, 16, (B, G, 4)).astype(np.float32),
        "valid": rng.uniform(size=(B, G)) < 0.5,
        **form,
    }


def id_map(seed, dtype=np.uint8):
    """Random slots, void, and valid pixels of no target, in patches that do not follow the cells."""
    rng = np.random.default_rng(seed)
    void = np.iinfo(dtype).max
    values = np.array([*range(G), void - 1, void, void, void], dtype)
    coarse = values[rng.integers(0, len(values), (B, H // 3, W // 3 + 1))]
    segments = coarse.repeat(3, 1).repeat(3, 2)[:, :, :W]
    return np.where(
        rng.uniform(size=segments.shape) < 0.2, values[rng.integers(0, len(values), segments.shape)], segments
    )


def naive_coverage(segments, void):
    """The rule of DESIGN section 3, cell by cell: -> coverage in [0, 1] of valid pixels, valid cells."""
    h, w = segments.shape[0] // 4, segments.shape[1] // 4
    covered, valid = np.zeros((G, h, w)), np.zeros((h, w), bool)
    for i, j in np.ndindex(h, w):
        pixels = [p for p in segments[4 * i : 4 * i + 4, 4 * j : 4 * j + 4].ravel().tolist() if p != void]
        valid[i, j] = len(pixels) >= 8
        for g in range(G):
            covered[g, i, j] = pixels.count(g) / max(len(pixels), 1)
    return covered, valid


def assert_common(batch, data):
    for name in ("image", "size", "task", "image_id"):
        np.testing.assert_array_equal(getattr(batch, name), data[name])
    for name in ("labels", "boxes", "valid"):
        np.testing.assert_array_equal(getattr(batch.targets, name), data[name])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("seed", range(2))
def test_id_map(seed, dtype):
    data = wire(seed, segments=id_map(seed, dtype))
    batch = expand(data)
    assert_common(batch, data)
    assert batch.targets.masks.dtype == np.uint8 and batch.targets.masks.shape == (B, G, H // 4, W // 4)
    for b in range(B):
        covered, valid = naive_coverage(data["segments"][b], np.iinfo(dtype).max)
        np.testing.assert_array_equal(batch.pixel_valid[b], valid)
        assert 0 < valid.sum() < valid.size
        difference = batch.targets.masks[b].astype(float) - 255 * covered
        assert np.abs(np.where(valid, difference, 0)).max() <= 0.5 + 1e-9


def test_a_cell_is_valid_from_half_of_its_pixels_and_coverage_counts_only_those():
    segments = np.full((B, H, W), 255, np.uint8)
    segments[0, 0, :4] = segments[0, 1, :4] = 2  # 8 valid pixels, all of slot 2.
    segments[0, 4, :4], segments[0, 5, :3] = 2, 2  # 7.
    segments[0, 8:12, :4] = 254
    segments[0, 8, 0] = 1  # 1 of 16.
    batch = expand(wire(0, segments=segments))
    np.testing.assert_array_equal(batch.pixel_valid[0, :4, 0], [True, False, True, False])
    assert batch.targets.masks[0, 2, 0, 0] == 255
    np.testing.assert_array_equal(batch.targets.masks[0, :, 2, 0], [0, 16, 0, 0, 0])
    assert not batch.pixel_valid[1:].any() and not batch.targets.masks[1:].any()


def test_the_two_largest_slots_of_a_full_id_map():
    """253 slots fit one byte: the last is 252, above it are the two reserved values."""
    segments = np.full((1, 8, 8), 252, np.uint8)
    segments[:, :4] = 254
    segments[:, :, 4:] = 255
    data = {name: value[:1] for name, value in wire(0).items()}
    data |= {"image": np.zeros((1, 8, 8, 3), np.uint8), "segments": segments}
    data |= {"labels": np.zeros((1, 253), np.int32), "boxes": np.zeros((1, 253, 4), np.float32)}
    batch = expand(data | {"valid": np.ones((1, 253), bool)})
    np.testing.assert_array_equal(batch.pixel_valid[0], [[True, False], [True, False]])
    assert batch.targets.masks[0, 252, 1, 0] == 255 and batch.targets.masks.astype(int).sum() == 255


def test_coverage_form_agrees_with_id_map():
    """The same non-overlapping targets in both forms are the same batch."""
    segments = id_map(3)
    both = [naive_coverage(s, 255) for s in segments]
    masks = np.stack([np.floor(255 * covered + 0.5).astype(np.uint8) for covered, _ in both])
    valid = np.stack([valid for _, valid in both])
    by_coverage = expand(wire(3, masks=masks, pixel_valid=valid))
    by_id = expand(wire(3, segments=segments))
    assert_common(by_coverage, wire(3))
    np.testing.assert_array_equal(by_coverage.pixel_valid, by_id.pixel_valid)
    where = valid[:, None]
    np.testing.assert_array_equal(
        np.where(where, by_coverage.targets.masks, 0), np.where(where, by_id.targets.masks, 0)
    )
    assert jax.tree.map(lambda x: x.dtype, by_coverage) == jax.tree.map(lambda x: x.dtype, by_id)


def test_boxes_form_agrees_with_an_id_map_without_targets():
    """Masks are zeros and the valid cells are those inside `size`, by the same half rule."""
    data = wire(4)
    segments = np.full((B, H, W), 255, np.uint8)
    for b, (height, width) in enumerate(data["size"]):
        segments[b, :height, :width] = 254
    by_box, by_id = expand(data), expand(data | {"segments": segments})
    assert_common(by_box, data)
    jax.tree.map(np.testing.assert_array_equal, by_box, by_id)
    assert jax.tree.map(lambda x: (x.dtype, x.shape), by_box) == jax.tree.map(lambda x: (x.dtype, x.shape), by_id)
    np.testing.assert_array_equal(by_box.pixel_valid.sum((1, 2)), [24, 3 * 2, 0])


def naive_box(box, height, width):
    """Every cell that shares area with the box; where there is none, the cell nearest to its corner."""
    out = np.zeros((height, width))
    overlap = lambda low, high, i: min(high, 4 * i + 4) - max(low, 4 * i) > 0  # noqa: E731
    nearest = lambda low, cells: min(max(int(np.floor(low / 4)), 0), cells - 1)  # noqa: E731
    columns = [j for j in range(width) if overlap(box[0], box[2], j)] or [nearest(box[0], width)]
    rows = [i for i in range(height) if overlap(box[1], box[3], i)] or [nearest(box[1], height)]
    for i in rows:
        out[i, columns] = 1
    return out


def test_box_masks():
    rng = np.random.default_rng(0)
    low, size = rng.uniform(-6, 26, (200, 2)), rng.uniform(0, 14, (200, 2))
    random = np.concatenate([low, low + size], 1)
    whole = np.round(random)  # Edges on the grid.
    edges = [
        [4, 4, 8, 8],  # One cell exactly.
        [3.99, 4, 8.01, 8],  # A hair over both sides.
        [0, 0, 24, 32],
        [-50, -50, 500, 500],
        [5, 5, 5, 5],  # Empty boxes still touch a cell.
        [8, 8, 8, 8],
        [24, 32, 24, 32],
        [100, 100, 120, 120],  # Outside.
        [-20, -20, -10, -10],
        [11, 3, 9, 1],  # Inverted.
    ]
    boxes = np.concatenate([random, whole, edges]).astype(np.float32)
    masks = np.asarray(jax.jit(box_masks, static_argnums=(1, 2))(boxes, 8, 6))
    assert masks.dtype == np.float32 and set(np.unique(masks)) == {0, 1}
    for box, mask in zip(boxes, masks, strict=True):
        assert mask.any()
        if box[2] >= box[0] and box[3] >= box[1]:
            np.testing.assert_array_equal(mask, naive_box(box.astype(float), 8, 6), err_msg=str(box))


def test_box_masks_keep_leading_axes():
    boxes = np.random.default_rng(1).uniform(0, 20, (2, 3, 4)).astype(np.float32)
    masks = box_masks(boxes, 8, 6)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(masks[index], box_masks(boxes[index], 8, 6))
