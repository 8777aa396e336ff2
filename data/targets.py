"""From an example to what crosses to the device: a dict of arrays of static shapes, in one of three forms.

`id_map` is the smallest for masks that do not overlap, `coverage` the one that all datasets of a mixed batch share,
`boxes` carries no masks. dataseg_jax/targets.py expands them.
"""

import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.regions import relabelled, runs
from data.transforms import STRIDE
from dataseg_jax.errors import InputError

FORMS = ("id_map", "coverage", "boxes")
SLIVER = 1e-3  # Share of the input: 32 x 32 pixels of 1024 x 1024, COCO's bound of small objects.


def to_wire(
    example: Example, size: tuple[int, int], *, slots: int, mergeable: np.ndarray, task: int, form: str
) -> dict[str, np.ndarray]:
    """Writes one example into G target slots.

    Targets that share a mergeable category are united first (one mask, the box around all). Slots are filled by
    area in pixels (of the mask, or of the box where there are boxes only), largest first, the first of the example
    among equals. Of what covers less than `SLIVER` of the input, things come before what is mergeable, since small
    things are real and small stuff is mostly what a crop left over. Targets without a slot are counted, and their
    pixels are supervised as belonging to no target.

    Args:
      example: at input size H x W, multiples of 4, padding included.
      size: (height, width) of the part that is picture.
      slots: G.
      mergeable: bool[K], which categories the task merges.
      task: row of the TaskTable.
      form: one of `FORMS`; `id_map` needs segments, and no masks that may overlap.

    Returns:
      image uint8[H, W, 3], size int32[2], task int32[], image_id int32[], labels int32[G], boxes float32[G, 4],
      valid bool[G], dropped int32[] (targets that found no slot); and by form
      id_map: segments uint8[H, W] (uint16 for G > 253): slot, or the largest value for void and padding, or the
        one below it for pixels of no target;
      coverage: masks uint8[G, H/4, W/4], 255 x the share of a cell's valid pixels that the target covers, and
        pixel_valid bool[H/4, W/4], True where at least half of the 16 pixels are valid;
      boxes: nothing more; what lies inside `size` is valid.

    Raises:
      InputError: the form is unknown, or it is `id_map` and there are only boxes, or masks that may overlap.
    """
    if form not in FORMS:
        raise InputError(f"wire form {form!r} is unknown; it must be one of {', '.join(FORMS)}")
    if form == "id_map" and example.segments is None:
        raise InputError(f"{example.file}: wire form id_map needs masks, here are only boxes; use boxes or coverage")
    if form == "id_map" and example.masks is not None:
        raise InputError(f"{example.file}: wire form id_map holds no masks that may overlap; use coverage")

    group = _groups(example.labels, mergeable)
    count = int(group.max(initial=-1)) + 1
    cells = None if example.masks is None else [_cells(example, group == g) for g in range(count)]
    areas = _areas(example, group, count) if cells is None else np.array([c.sum() for _, c in cells], np.int64)
    height, width = example.image.shape[:2]
    stuff = np.zeros(count, bool)
    stuff[group] = np.asarray(mergeable)[example.labels]
    order = np.lexsort((-areas, stuff & (areas < SLIVER * height * width)))
    slot_of_group = np.full(count, NO_TARGET, np.int64)
    kept = min(count, slots)
    slot_of_group[order[:kept]] = np.arange(kept)
    slot = slot_of_group[group]

    has_slot = slot >= 0
    labels = np.zeros(slots, np.int32)
    labels[slot[has_slot]] = example.labels[has_slot]
    boxes = np.zeros((slots, 4), np.float32)
    boxes[:kept] = np.inf, np.inf, -np.inf, -np.inf
    np.minimum.at(boxes[:, :2], slot[has_slot], example.boxes[has_slot, :2])
    np.maximum.at(boxes[:, 2:], slot[has_slot], example.boxes[has_slot, 2:])
    wire = {
        "image": example.image,
        "size": np.array(size, np.int32),
        "task": np.int32(task),
        "image_id": np.int32(example.image_id),
        "labels": labels,
        "boxes": boxes,
        "valid": np.arange(slots) < kept,
        "dropped": np.int32(count - kept),
    }
    if form == "id_map":
        void = np.iinfo(np.uint8 if slots <= 253 else np.uint16).max
        numbers = np.where(has_slot, slot, void - 1).astype(np.min_scalar_type(void))
        wire["segments"] = relabelled(example.segments, numbers, rest=void - 1, void=void)
    elif form == "coverage":
        shape = height // STRIDE, width // STRIDE
        if example.segments is None:
            wire["masks"], valid = np.zeros((slots, *shape), np.uint8), _inside(size, *shape)
        elif cells is None:
            wire["masks"], valid = _coverage(example.segments, slot, kept, slots)
        else:
            wire["masks"], valid = _coverage_of_cells([cells[g] for g in order[:kept]], example.segments, slots)
        wire["pixel_valid"] = 2 * valid >= STRIDE * STRIDE
    return wire


def _areas(example: Example, group: np.ndarray, count: int) -> np.ndarray:
    """Pixels of each of the `count` groups of targets."""
    if example.segments is None:
        sides = example.boxes[:, 2:] - example.boxes[:, :2]
        return np.bincount(group, weights=sides.prod(axis=1), minlength=count)
    starts, lengths = runs(example.segments)
    owners = example.segments.reshape(-1)[starts]
    owned = owners >= 0
    return np.bincount(group[owners[owned]], weights=lengths[owned], minlength=count)


def _groups(labels: np.ndarray, mergeable: np.ndarray) -> np.ndarray:
    """Numbers the targets from 0 so that those to be united share a number, in order of first appearance."""
    number_of: dict[tuple[int, int], int] = {}
    group = [
        number_of.setdefault((label, -1 if mergeable[label] else place), len(number_of))
        for place, label in enumerate(labels.tolist())
    ]
    return np.array(group, np.int64)


def _coverage(segments: np.ndarray, slot: np.ndarray, kept: int, slots: int) -> tuple[np.ndarray, np.ndarray]:
    height, width = segments.shape[0] // STRIDE, segments.shape[1] // STRIDE
    # One histogram over (slot, cell) counts the pixels of all targets in one pass; two more rows hold the rest.
    row_of = np.append(np.where(slot >= 0, slot, kept), [kept, kept + 1]) * (height * width)
    starts, lengths = runs(segments, STRIDE)
    y, x = np.divmod(starts, segments.shape[1])
    bins = row_of[segments.reshape(-1)[starts]] + (y // STRIDE) * width + x // STRIDE
    counts = np.bincount(bins, weights=lengths, minlength=(kept + 2) * height * width).astype(np.int32)
    counts = counts.reshape(kept + 2, height, width)
    valid = STRIDE * STRIDE - counts[-1]
    masks = np.zeros((slots, height, width), np.uint8)
    masks[:kept] = _share(counts[:kept], valid)
    return masks, valid


def _cells(example: Example, members: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where the union of some overlapping targets lies, in cells, and how many valid pixels of each cell it covers."""
    boxes = example.boxes[members]
    x0, y0 = (np.floor(boxes[:, :2].min(axis=0) / STRIDE)).astype(int)
    x1, y1 = (np.ceil(boxes[:, 2:].max(axis=0) / STRIDE)).astype(int)
    rows, columns = slice(y0 * STRIDE, y1 * STRIDE), slice(x0 * STRIDE, x1 * STRIDE)
    union = example.segments[rows, columns] != VOID
    union &= np.bitwise_or.reduce([example.masks[s, rows, columns] for s in np.flatnonzero(members)]) != 0
    return (slice(y0, y1), slice(x0, x1)), _count(union)


def _count(pixels: np.ndarray) -> np.ndarray:
    """How many of the pixels bool[H, W] of each cell are set, int32[H/4, W/4]."""
    ones = pixels.view(np.uint8)
    rows = sum(ones[row::STRIDE] for row in range(STRIDE))
    return sum(rows[:, column::STRIDE] for column in range(STRIDE)).astype(np.int32)


def _coverage_of_cells(
    cells: list[tuple[tuple[slice, slice], np.ndarray]], segments: np.ndarray, slots: int
) -> tuple[np.ndarray, np.ndarray]:
    valid = _count(segments != VOID)
    masks = np.zeros((slots, *valid.shape), np.uint8)
    for mask, (place, counts) in zip(masks, cells, strict=False):
        mask[place] = _share(counts, valid[place])
    return masks, valid


def _share(counts: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """255 x counts / valid pixels of a cell, 0 where none is; in integers, so that the device agrees exactly."""
    return (255 * counts + valid // 2) // np.maximum(valid, 1)


def _inside(size: tuple[int, int], height: int, width: int) -> np.ndarray:
    """How many pixels of each cell lie in the picture."""
    rows = np.clip(size[0] - STRIDE * np.arange(height), 0, STRIDE)
    columns = np.clip(size[1] - STRIDE * np.arange(width), 0, STRIDE)
    return np.outer(rows, columns)
