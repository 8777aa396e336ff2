"""From an example to what crosses to the device: a dict of arrays of static shapes, in one of three forms.

`id_map` is the smallest for masks that do not overlap, `coverage` the one that all datasets of a mixed batch share,
`boxes` carries no masks. dataseg_jax/objective/targets.py expands them.
"""

import numpy as np

from data.example import NO_TARGET, VOID, Example
from data.pipeline.regions import relabelled, runs
from dataseg_jax.errors import InputError
from dataseg_jax.io.wire_format import CELL, STRIDE, id_map_values

# A rectangle of the mask grid, and how many pixels of each of its cells are covered.
Cells = tuple[tuple[slice, slice], np.ndarray]
FORMS = ("id_map", "coverage", "boxes")
SLIVER = 1e-3  # Share of the input: 32 x 32 pixels of 1024 x 1024, COCO's bound of small objects.


def to_wire(
    example: Example, size: tuple[int, int], *, max_targets: int, mergeable: np.ndarray, task: int, form: str
) -> dict[str, np.ndarray]:
    """Writes one example as at most G targets, in arrays of length G.

    Targets that share a mergeable category are united first (one mask, the box around all). They are ordered by
    area in pixels (of the mask, or of the box where there are boxes only), largest first; of equal areas the target
    that comes first in the example. Among targets smaller than `SLIVER` of the input, things come before mergeable
    categories: a small thing is usually annotated as such, small stuff is mostly what a crop left over. Those
    beyond G are counted and dropped, and their pixels are supervised as belonging to no target.

    Args:
      example: at input size H x W, multiples of 4, padding included.
      size: (height, width) of the part that is image.
      max_targets: G.
      mergeable: bool[K], which categories the task merges.
      task: row of the TaskTable.
      form: one of `FORMS`; `id_map` needs segments, and no masks that may overlap.

    Returns:
      image uint8[H, W, 3], size int32[2], task int32[], image_id int32[], labels int32[G], boxes float32[G, 4],
      valid bool[G], dropped int32[] (targets beyond G); and by form
      id_map: segments uint8[H, W] (uint16 for G > 253): index, or the largest value for void and padding, or the
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

    union = _unions(example.labels, mergeable)
    count = int(union.max(initial=-1)) + 1
    if example.masks is None:
        cells, areas = None, _areas(example, union, count)
    else:
        cells = [_cells_of_masks(example, np.flatnonzero(union == g)) for g in range(count)]
        areas = np.array([counts.sum(dtype=np.int64) for _, counts in cells], np.int64)
    height, width = example.image.shape[:2]
    stuff = np.zeros(count, bool)
    stuff[union] = np.asarray(mergeable)[example.labels]
    order = np.lexsort((-areas, stuff & (areas < SLIVER * height * width)))
    index_of_union = np.full(count, NO_TARGET, np.int64)
    kept = min(count, max_targets)
    index_of_union[order[:kept]] = np.arange(kept)
    index = index_of_union[union]

    written = index >= 0
    labels = np.zeros(max_targets, np.int32)
    labels[index[written]] = example.labels[written]
    boxes = np.zeros((max_targets, 4), np.float32)
    boxes[:kept] = np.inf, np.inf, -np.inf, -np.inf
    np.minimum.at(boxes[:, :2], index[written], example.boxes[written, :2])
    np.maximum.at(boxes[:, 2:], index[written], example.boxes[written, 2:])
    wire = {
        "image": example.image,
        "size": np.array(size, np.int32),
        "task": np.int32(task),
        "image_id": np.int32(example.image_id),
        "labels": labels,
        "boxes": boxes,
        "valid": np.arange(max_targets) < kept,
        "dropped": np.int32(count - kept),
    }
    if form == "id_map":
        wire["segments"] = _id_map(example.segments, index, max_targets)
    elif form == "coverage":
        if cells is not None:
            covered = [cells[g] for g in order[:kept]]
        elif example.segments is not None:
            covered = _cells_of_map(_id_map(example.segments, index, max_targets), boxes[:kept])
        else:
            covered = []
        wire["masks"], wire["pixel_valid"] = _coverage(example, size, covered, max_targets)
    return wire


def _areas(example: Example, union: np.ndarray, count: int) -> np.ndarray:
    """Pixels of each of the `count` unions of targets."""
    if example.segments is None:
        sides = example.boxes[:, 2:] - example.boxes[:, :2]
        return np.bincount(union, weights=sides.prod(axis=1), minlength=count)
    starts, lengths = runs(example.segments)
    owners = example.segments.reshape(-1)[starts]
    owned = owners >= 0
    return np.bincount(union[owners[owned]], weights=lengths[owned], minlength=count)


def _unions(labels: np.ndarray, mergeable: np.ndarray) -> np.ndarray:
    """Numbers the targets from 0 so that those to be united share a number, in order of first appearance."""
    number_of: dict[tuple[int, int], int] = {}
    union = [
        number_of.setdefault((label, -1 if mergeable[label] else place), len(number_of))
        for place, label in enumerate(labels.tolist())
    ]
    return np.array(union, np.int64)


def _id_map(segments: np.ndarray, index: np.ndarray, max_targets: int) -> np.ndarray:
    kind, no_target, void = id_map_values(max_targets)
    numbers = np.where(index >= 0, index, no_target).astype(kind)
    return relabelled(segments, numbers, rest=no_target, void=void)


def _coverage(
    example: Example, size: tuple[int, int], covered: list[Cells], max_targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the targets from the cells they cover, and which cells are valid."""
    shape = example.image.shape[0] // STRIDE, example.image.shape[1] // STRIDE
    valid = _inside(size, *shape) if example.segments is None else _count(example.segments != VOID)
    masks = np.zeros((max_targets, *shape), np.uint8)
    for mask, (place, counts) in zip(masks, covered, strict=False):
        # In integers, so that the device agrees exactly.
        mask[place] = (255 * counts.astype(np.int32) + valid[place] // 2) // np.maximum(valid[place], 1)
    return masks, 2 * valid >= CELL


def _cells_of_map(id_map: np.ndarray, boxes: np.ndarray) -> list[Cells]:
    """The cells of each index of an id map, looked for inside of its box."""
    places = [_place(box) for box in boxes]
    return [(place, _count(id_map[_pixels(place)] == index)) for index, place in enumerate(places)]


def _cells_of_masks(example: Example, members: np.ndarray) -> Cells:
    """The cells of the union of some targets that may overlap; only valid pixels count."""
    boxes = example.boxes[members]
    place = _place(np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]))
    pixels = _pixels(place)
    union = example.masks.union(members.tolist(), pixels) != 0
    return place, _count(union & (example.segments[pixels] != VOID)).astype(np.uint8)  # All targets' are kept.


def _place(box: np.ndarray) -> tuple[slice, slice]:
    """The cells that a box x0 y0 x1 y1 touches: rows and columns."""
    x0, y0 = np.floor(box[:2] / STRIDE).astype(int)
    x1, y1 = np.ceil(box[2:] / STRIDE).astype(int)
    return slice(y0, y1), slice(x0, x1)


def _pixels(place: tuple[slice, slice]) -> tuple[slice, slice]:
    rows, columns = place
    return slice(STRIDE * rows.start, STRIDE * rows.stop), slice(STRIDE * columns.start, STRIDE * columns.stop)


def _count(pixels: np.ndarray) -> np.ndarray:
    """How many of the pixels bool[H, W] of each cell are set, int32[H/4, W/4]."""
    ones = pixels.view(np.uint8)
    rows = sum(ones[row::STRIDE] for row in range(STRIDE))
    return sum(rows[:, column::STRIDE] for column in range(STRIDE)).astype(np.int32)


def _inside(size: tuple[int, int], height: int, width: int) -> np.ndarray:
    """How many pixels of each cell lie in the image."""
    rows = np.clip(size[0] - STRIDE * np.arange(height), 0, STRIDE)
    columns = np.clip(size[1] - STRIDE * np.arange(width), 0, STRIDE)
    return np.outer(rows, columns)
