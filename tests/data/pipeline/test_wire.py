"""Wire forms against naive loops over pixels, and against their expansion on the device."""

import dataclasses

import numpy as np
import pytest

from data.example import NO_TARGET, VOID, Example
from data.pipeline.masks import Masks
from data.pipeline.wire import SLIVER, to_wire
from dataseg_jax.errors import InputError

LABELS = np.array([4, 1, 4, 0, 1, 4, 2], np.int32)
MERGEABLE = np.array([False, False, True, True, True])  # Categories 2, 3 and 4 are stuff.


def masked(seed=0, height=20, width=24, labels=LABELS) -> Example:
    """Blocks of random targets with void and pixels of no target among them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(NO_TARGET, len(labels), (height // 2, width // 2)).repeat(2, 0).repeat(2, 1)
    specks = rng.random((height, width)) < 0.2
    segments = np.where(specks, rng.integers(NO_TARGET, len(labels), specks.shape), blocks).astype(np.int32)
    boxes = np.zeros((len(labels), 4), np.float32)
    for index in range(len(labels)):
        y, x = np.nonzero(segments == index)
        boxes[index] = x.min(), y.min(), x.max() + 1, y.max() + 1
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Example(image, 5, "x.png", labels, boxes, segments)


def boxed(boxes, labels) -> Example:
    return Example(np.zeros((20, 24, 3), np.uint8), 5, "x.png", np.int32(labels), np.float32(boxes), None)


def naive(example: Example, mergeable, max_targets: int) -> list[tuple[int, set[int]]]:
    """(label, targets) of every slot, by the rules as they are written down."""
    groups: list[tuple[int, set[int]]] = []
    for target, label in enumerate(example.labels.tolist()):
        same = [group for group in groups if mergeable[label] and group[0] == label]
        if same:
            same[0][1].add(target)
        else:
            groups.append((label, {target}))

    def place(group):
        area = np.isin(example.segments, list(group[1])).sum()
        return bool(mergeable[group[0]]) and area < SLIVER * example.segments.size, -area

    groups.sort(key=place)
    return groups[:max_targets]


def wire(example, size=(20, 24), max_targets=8, mergeable=MERGEABLE, form="id_map"):
    return to_wire(example, size, max_targets=max_targets, mergeable=mergeable, task=3, form=form)


@pytest.mark.parametrize("max_targets", [2, 4, 8])
@pytest.mark.parametrize("mergeable", [MERGEABLE, np.ones(5, bool), np.zeros(5, bool)], ids=["stuff", "all", "none"])
def test_labels_boxes_and_id_map_follow_the_rules(max_targets, mergeable):
    example = masked()
    result = wire(example, max_targets=max_targets, mergeable=mergeable)
    groups = naive(example, mergeable, max_targets)
    np.testing.assert_array_equal(result["valid"], np.arange(max_targets) < len(groups))
    np.testing.assert_array_equal(result["labels"], [g[0] for g in groups] + [0] * (max_targets - len(groups)))
    expected = np.full((20, 24), 254, np.uint8)
    expected[example.segments == VOID] = 255
    for slot, (_, members) in enumerate(groups):
        mask = np.isin(example.segments, list(members))
        expected[mask] = slot
        y, x = np.nonzero(mask)
        np.testing.assert_array_equal(result["boxes"][slot], [x.min(), y.min(), x.max() + 1, y.max() + 1])
    np.testing.assert_array_equal(result["segments"], expected)
    assert result["segments"].dtype == np.uint8
    assert (result["boxes"][len(groups) :] == 0).all()
    every = naive(example, mergeable, 100)
    assert result["dropped"] == len(every) - len(groups) and result["dropped"].dtype == np.int32


def test_image_size_task_and_id_travel_along():
    example = masked()
    result = wire(example, size=(18, 21))
    np.testing.assert_array_equal(result["image"], example.image)
    for key, value in (("size", [18, 21]), ("task", 3), ("image_id", 5)):
        np.testing.assert_array_equal(result[key], value)
        assert result[key].dtype == np.int32


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_the_share_of_the_valid_pixels_of_each_cell(seed):
    example = masked(seed)
    example.segments[:6, :9] = VOID  # A cell without a valid pixel, and some that are mostly void.
    result = wire(example, form="coverage", max_targets=4)
    groups = naive(example, MERGEABLE, 4)
    for row in range(5):
        for column in range(6):
            cell = example.segments[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            valid = int((cell != VOID).sum())
            assert result["pixel_valid"][row, column] == (valid >= 8)
            for slot, (_, members) in enumerate(groups):
                share = 255 * np.isin(cell, list(members)).sum() / valid if valid else 0
                assert abs(result["masks"][slot, row, column] - share) <= 0.5
    assert result["masks"].shape == (4, 5, 6) and result["masks"].dtype == np.uint8


@pytest.mark.parametrize("max_targets", [2, 8])
def test_id_map_and_coverage_are_the_same_on_the_device(max_targets):
    from dataseg_jax.objective.targets import expand_targets

    example = masked(1)
    forms = {}
    for form in ("id_map", "coverage"):
        batch = {
            key: np.asarray(value)[None] for key, value in wire(example, form=form, max_targets=max_targets).items()
        }
        forms[form] = expand_targets(batch)
    np.testing.assert_array_equal(forms["id_map"].targets.masks, forms["coverage"].targets.masks)
    np.testing.assert_array_equal(forms["id_map"].pixel_valid, forms["coverage"].pixel_valid)


def test_boxes_are_united_ordered_by_area_and_dropped():
    example = boxed([[0, 0, 2, 2], [1, 1, 9, 9], [10, 10, 13, 12], [4, 0, 6, 2], [0, 0, 3, 3]], [4, 0, 4, 1, 1])
    result = wire(example, form="boxes", max_targets=3)
    # Areas 64, 4 + 6 (both of category 4), 9 and 4.
    np.testing.assert_array_equal(result["labels"], [0, 4, 1])
    np.testing.assert_array_equal(result["boxes"], [[1, 1, 9, 9], [0, 0, 13, 12], [0, 0, 3, 3]])
    assert result["dropped"] == 1 and result["valid"].all()
    assert "masks" not in result and "segments" not in result


def test_boxes_in_coverage_form_have_no_masks_and_are_valid_inside_the_image():
    size = (10, 22)
    result = wire(boxed([[0, 0, 4, 4]], [1]), size=size, form="coverage")
    assert result["masks"].shape == (8, 5, 6) and not result["masks"].any()
    inside = np.zeros((20, 24), bool)
    inside[: size[0], : size[1]] = True
    expected = inside.reshape(5, 4, 6, 4).sum((1, 3)) >= 8
    np.testing.assert_array_equal(result["pixel_valid"], expected)


@pytest.mark.parametrize("form", ["id_map", "coverage", "boxes"])
def test_an_image_without_targets(form):
    nothing = np.zeros(0, np.int32), np.zeros((0, 4), np.float32), np.full((20, 24), VOID, np.int32)
    none = Example(masked().image, 5, "x.png", *nothing)
    result = wire(none, form=form)
    assert not result["valid"].any() and not result["boxes"].any() and result["dropped"] == 0
    if form == "id_map":
        assert (result["segments"] == 255).all()
    if form == "coverage":
        assert not result["masks"].any() and not result["pixel_valid"].any()


def test_many_slots_need_two_bytes():
    assert wire(masked(), max_targets=253)["segments"].dtype == np.uint8
    result = wire(masked(), max_targets=254)["segments"]
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result == 65535, masked().segments == VOID)
    np.testing.assert_array_equal(result == 65534, masked().segments == NO_TARGET)


def masks_of(example: Example) -> Example:
    """The same targets as masks, which here do not overlap."""
    masks = (example.segments == np.arange(len(example.labels))[:, None, None]).astype(np.uint8)
    rest = np.where(example.segments == VOID, VOID, NO_TARGET).astype(np.int32)
    return dataclasses.replace(example, segments=rest, masks=Masks.encode(masks, rest.shape))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_targets", [2, 8])
@pytest.mark.parametrize("mergeable", [MERGEABLE, np.ones(5, bool), np.zeros(5, bool)], ids=["stuff", "all", "none"])
def test_masks_that_do_not_overlap_are_as_segments(seed, max_targets, mergeable):
    example = masked(seed)
    for form in ("coverage", "boxes"):
        expected = wire(example, max_targets=max_targets, mergeable=mergeable, form=form)
        result = wire(masks_of(example), max_targets=max_targets, mergeable=mergeable, form=form)
        assert result.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(result[key], value)
            assert result[key].dtype == value.dtype


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_targets", [3, 8])
def test_coverage_of_masks_that_overlap(seed, max_targets):
    rng = np.random.default_rng(seed)
    example = masked(seed)
    masks = np.zeros((len(LABELS), 20, 24), np.uint8)
    for target, mask in enumerate(masks):
        y, x = rng.integers(0, 14), rng.integers(0, 18)
        mask[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = rng.random() < 0.9
        mask &= rng.random(mask.shape) < 0.8
        mask[y, x] = 1
        rows, columns = np.nonzero(mask)
        example.boxes[target] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    example.segments[example.segments >= 0] = NO_TARGET
    example.segments[:5, :6] = VOID
    result = wire(
        dataclasses.replace(example, masks=Masks.encode(masks, (20, 24))), max_targets=max_targets, form="coverage"
    )

    valid = example.segments != VOID
    groups = [[1], [4], [3], [0, 2, 5], [6]]  # Categories 1, 1, 0, 4 and 2, as LABELS has them.
    unions = {tuple(g): (masks[g].any(0)) & valid for g in groups}
    ordered = sorted(groups, key=lambda g: -unions[tuple(g)].sum())
    assert result["dropped"] == max(0, len(groups) - max_targets) and result["valid"].sum() == min(
        max_targets, len(groups)
    )
    areas = [unions[tuple(g)].sum() for g in ordered]
    assert len(set(areas)) == len(areas), "equal areas would leave the order open"
    for slot, group in enumerate(ordered[:max_targets]):
        assert result["labels"][slot] == LABELS[group[0]]
        np.testing.assert_array_equal(result["boxes"][slot, :2], example.boxes[group, :2].min(0))
        np.testing.assert_array_equal(result["boxes"][slot, 2:], example.boxes[group, 2:].max(0))
        for row in range(5):
            for column in range(6):
                cell = np.s_[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                known = int(valid[cell].sum())
                share = 255 * unions[tuple(group)][cell].sum() / known if known else 0
                assert abs(result["masks"][slot, row, column] - share) <= 0.5
                assert result["pixel_valid"][row, column] == (known >= 8)
    assert not result["masks"][len(ordered) :].any()


def test_slots_go_to_small_things_before_small_stuff():
    segments = np.full((100, 100), NO_TARGET, np.int32)  # What covers under 10 pixels is small.
    for target, area in enumerate((9, 8, 50, 10, 9)):
        segments[10 * target, :area] = target
    labels = np.array([2, 0, 3, 4, 1], np.int32)  # 2, 3 and 4 are stuff.
    boxes = np.array([[0, 10 * t, a, 10 * t + 1] for t, a in enumerate((9, 8, 50, 10, 9))], np.float32)
    example = Example(np.zeros((100, 100, 3), np.uint8), 5, "x.png", labels, boxes, segments)
    for given in (example, masks_of(example), dataclasses.replace(example, segments=None)):
        result = to_wire(given, (100, 100), max_targets=4, mergeable=MERGEABLE, task=0, form="boxes")
        np.testing.assert_array_equal(result["labels"], [3, 4, 1, 0])
        assert result["dropped"] == 1


@pytest.mark.parametrize("max_targets", [8, 254])
def test_an_id_map_of_one_byte_is_written_as_one_of_four(max_targets):
    wide = masked(2)
    small = dataclasses.replace(wide, segments=wide.segments.astype(np.int8))
    np.testing.assert_array_equal(
        wire(small, max_targets=max_targets)["segments"], wire(wide, max_targets=max_targets)["segments"]
    )
    np.testing.assert_array_equal(wire(small, form="coverage")["masks"], wire(wide, form="coverage")["masks"])


def test_forms_that_cannot_be():
    with pytest.raises(InputError, match="id_map needs masks"):
        wire(boxed([[0, 0, 4, 4]], [1]))
    with pytest.raises(InputError, match="x.png: wire form id_map holds no masks that may overlap; use coverage"):
        wire(masks_of(masked()))
    with pytest.raises(InputError, match="must be one of id_map, coverage, boxes"):
        wire(masked(), form="packed")
