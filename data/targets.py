"""From an example to what crosses to the device: a dict of arrays of static shapes, in one of three forms.

`id_map` is the smallest for masks that do not overlap, `coverage` the one that all datasets of a mixed batch share,
`boxes` carries no masks. dataseg_jax/targets.py expands them.
"""

import numpy as np

from data.example import NO_TARGET, Example
from data.regions import runs
from data.transforms import STRIDE
from dataseg_jax.errors import InputError

FORMS = ("id_map", "coverage", "boxes")


def to_wire(
    example: Example, size: tuple[int, int], *, slots: int, mergeable: np.ndarray, task: int, form: str
) -> dict[str, np.ndarray]:
    """Writes one example into G target slots.

    Targets that share a mergeable category are united first (one mask, the box around all). Slots are filled by
    area, largest first; what does not fit is counted, and its pixels are supervised as belonging to no target.

    Args:
      example: at input size H x W, multiples of 4, padding included.
      size: (height, width) of the part that is picture.
      slots: G.
      mergeable: bool[K], which categories the task merges.
      task: row of the TaskTable.
      form: one of `FORMS`; `id_map` needs segments.

    Returns:
      image uint8[H, W, 3], size int32[2], task int32[], image_id int32[], labels int32[G], boxes float32[G, 4],
      valid bool[G], dropped int32[] (targets that found no slot); and by form
      id_map: segments uint8[H, W] (uint16 for G > 253): slot, or the largest value for void and padding, or the
        one below it for pixels of no target;
      coverage: masks uint8[G, H/4, W/4], 255 x the share of a cell's valid pixels that the target covers, and
        pixel_valid bool[H/4, W/4], True where at least half of the 16 pixels are valid;
      boxes: nothing more; what lies inside `size` is valid.

    Raises:
      InputError: the form is unknown, or it is `id_map` and there are only boxes.
    """
    if form not in FORMS:
        raise InputError(f"wire form {form!r} is unknown; it must be one of {', '.join(FORMS)}")
    if form == "id_map" and example.segments is None:
        raise InputError(f"{example.file}: wire form id_map needs masks, here are only boxes; use boxes or coverage")

    areas = _areas(example)
    group = _groups(example.labels, mergeable)
    count = int(group.max(initial=-1)) + 1
    group_areas = np.bincount(group, weights=areas, minlength=count)
    order = np.argsort(-group_areas, kind="stable")
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
        wire["segments"] = _id_map(example.segments, slot, slots)
    elif form == "coverage" and example.segments is not None:
        wire["masks"], wire["pixel_valid"] = _coverage(example.segments, slot, kept, slots)
    elif form == "coverage":
        height, width = example.image.shape[0] // STRIDE, example.image.shape[1] // STRIDE
        wire["masks"] = np.zeros((slots, height, width), np.uint8)
        wire["pixel_valid"] = _inside(size, height, width)
    return wire


def _areas(example: Example) -> np.ndarray:
    if example.segments is None:
        return (example.boxes[:, 2] - example.boxes[:, 0]) * (example.boxes[:, 3] - example.boxes[:, 1])
    pixels = example.segments.reshape(-1) - NO_TARGET  # NO_TARGET becomes 0, VOID 1.
    return np.bincount(pixels, minlength=len(example.labels) - NO_TARGET)[-NO_TARGET:]


def _groups(labels: np.ndarray, mergeable: np.ndarray) -> np.ndarray:
    """Numbers the targets from 0 so that those to be united share a number, in order of first appearance."""
    number_of: dict[tuple[int, int], int] = {}
    group = [
        number_of.setdefault((label, -1 if mergeable[label] else place), len(number_of))
        for place, label in enumerate(labels.tolist())
    ]
    return np.array(group, np.int64)


def _id_map(segments: np.ndarray, slot: np.ndarray, slots: int) -> np.ndarray:
    dtype = np.uint8 if slots <= 253 else np.uint16
    void = np.iinfo(dtype).max
    table = np.append(np.where(slot >= 0, slot, void - 1), [void - 1, void]).astype(dtype)
    return table[segments]  # The last two entries answer NO_TARGET = -2 and VOID = -1.


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
    masks[:kept] = (255 * counts[:kept] + valid // 2) // np.maximum(valid, 1)  # Integers: the device agrees exactly.
    return masks, valid * 2 >= STRIDE * STRIDE


def _inside(size: tuple[int, int], height: int, width: int) -> np.ndarray:
    rows = np.clip(size[0] - STRIDE * np.arange(height), 0, STRIDE)
    columns = np.clip(size[1] - STRIDE * np.arange(width), 0, STRIDE)
    return np.outer(rows, columns) * 2 >= STRIDE * STRIDE
