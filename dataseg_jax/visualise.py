"""Pictures of segmentations: coloured segments with outlines, names and a legend, and sheets to compare them.

numpy and Pillow only, no files: arrays in, arrays out. A label is the name of a category, or (name, score).
Colours belong to names, so that prediction and truth agree; instances of one category are shades of its colour.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataseg_jax.errors import InputError

Label = str | tuple[str, float | None]
Colour = tuple[int, int, int]

_ALPHA = 0.5
_SMALLEST_SIDE = 256  # Pictures below it are enlarged, or text and outlines would cover them.
_PAPER, _INK, _FAINT = (255, 255, 255), (33, 37, 41), (108, 117, 125)
_SHADES = (0.0, 0.22, -0.18, 0.4, -0.32)  # Towards white or black, in the order of the instances.


def overlay(
    image: np.ndarray,
    segments: np.ndarray,
    labels: Mapping[int, Label],
    colours: Mapping[str, Colour] | None = None,
    legend: bool = True,
    tags: bool = True,
) -> np.ndarray:
    """A picture with its segments: colour at alpha .5, a light and dark line along borders, void grey and dim.

    Args:
      image: uint8[H, W, 3], RGB. Small pictures are enlarged, see `enlarge`.
      segments: int[H, W], 0 = void.
      labels: segment id -> name or (name, score). Ids that do not occur in `segments` are left out.
      colours: name -> RGB for the whole vocabulary (see `palette`), to compare many pictures; None: distinct
        colours for the names of this picture, which nearly always agree between pictures.
      legend: add a strip beneath with one entry a category: colour, name, number of segments, scores.
      tags: write the label into every segment that has room for it.

    Returns:
      uint8[H', W', 3]; without legend the size is that of `enlarge(image)`.

    Raises:
      InputError: shapes disagree, an id of `segments` has no label, or a name has no colour.
    """
    _check_image(image)
    segments = np.asarray(segments)
    if segments.shape != image.shape[:2]:
        raise InputError(f"overlay: segments have shape {segments.shape}, the picture needs {image.shape[:2]}")
    ids, first, index, areas = np.unique(segments, return_index=True, return_inverse=True, return_counts=True)
    index = index.reshape(segments.shape)
    missing = [int(i) for i in ids if i != 0 and int(i) not in labels]
    if missing:
        raise InputError(f"overlay: segment {missing[0]} has no label, labels have {sorted(labels)}")

    shown = [_entry(labels[int(i)]) if i != 0 else ("", None) for i in ids]
    rgb = _segment_colours([name for name, _ in shown], first, colours)
    factor = _factor(image)
    image, index = enlarge(image), _repeat(index, factor)
    void = ids[index] == 0
    painted = np.where(void[..., None], _dim(image), _blend(image, np.array(rgb)[index]))
    painted = _outline(painted, index, ~void)

    present = [i for i in range(len(ids)) if ids[i] != 0]
    if tags:
        masks = ((index == i, shown[i]) for i in present)
        painted = _draw_tags(painted, masks)
    if legend:
        painted = _with_legend(painted, [(*shown[i], areas[i]) for i in present], colours)
    return painted


def instance_overlay(
    image: np.ndarray,
    masks: np.ndarray,
    labels: Sequence[Label],
    colours: Mapping[str, Colour] | None = None,
    legend: bool = True,
    tags: bool = True,
) -> np.ndarray:
    """The same for masks that may overlap: large ones lie beneath small ones, outlines on top of all.

    Args:
      image: uint8[H, W, 3], RGB.
      masks: bool[n, H, W]; empty ones are left out.
      labels: name or (name, score) of each mask.
      colours, legend, tags: as in `overlay`.

    Raises:
      InputError: shapes or lengths disagree, or a name has no colour.
    """
    _check_image(image)
    masks = np.asarray(masks, bool)
    if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise InputError(f"instance_overlay: masks have shape {masks.shape}, must be (n, {image.shape[:2]})")
    if len(labels) != len(masks):
        raise InputError(f"instance_overlay: {len(labels)} labels for {len(masks)} masks, must be one for each")

    areas = masks.sum((1, 2))
    present = sorted(np.flatnonzero(areas), key=lambda i: -areas[i])
    shown = [_entry(labels[i]) for i in present]
    first = [int(masks[i].argmax()) for i in present]
    rgb = _segment_colours([name for name, _ in shown], first, colours)
    factor = _factor(image)
    image = enlarge(image)
    large = [_repeat(masks[i], factor) for i in present]
    painted = _dim(image)
    covered = np.zeros(image.shape[:2], bool)
    for mask, colour in zip(large, rgb, strict=True):
        # The first layer lies on the picture itself, the next ones on what is painted already.
        beneath = np.where(covered[mask][:, None], painted[mask], image[mask])
        painted[mask] = _blend(beneath, np.array(colour))
        covered |= mask
    for mask in large:
        painted = _outline(painted, mask.astype(int), mask)
    if tags:
        painted = _draw_tags(painted, zip(large, shown, strict=True))
    if legend:
        painted = _with_legend(painted, [(*s, areas[i]) for s, i in zip(shown, present, strict=True)], colours)
    return painted


def grid(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str] = ()) -> np.ndarray:
    """A sheet of pictures, such as picture | prediction | truth, with a heading over each column.

    Args:
      rows: uint8[H, W, 3] arrays of any sizes, at least one. Small ones are enlarged as `overlay` does, so that a
        plain picture meets its overlay. A row may be shorter than the others.
      captions: heading of each column; none leaves the headings out.

    Raises:
      InputError: no picture, not an RGB picture, or a number of captions that is not that of the columns.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise InputError("grid: no picture, needs at least one row of one picture")
    if captions and len(captions) != columns:
        raise InputError(f"grid: {len(captions)} captions for {columns} columns, must be one for each")
    for cell in (cell for row in rows for cell in row):
        _check_image(cell)
    cells = [[enlarge(cell) for cell in row] for row in rows]
    widths = [max(row[c].shape[1] for row in cells if c < len(row)) for c in range(columns)]
    heights = [max((cell.shape[0] for cell in row), default=0) for row in cells]
    size = _text_size(min(widths))
    gap = size
    top = gap + (2 * size if captions else 0)

    sheet = Image.new("RGB", (gap + sum(w + gap for w in widths), top + sum(h + gap for h in heights)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), _font(round(1.2 * size))
    lefts = np.cumsum([gap] + [w + gap for w in widths])
    for c, caption in enumerate(captions):
        text = _shorten(caption, font, widths[c])
        draw.text((lefts[c] + widths[c] // 2, (top + gap // 2) // 2), text, _INK, font, anchor="mm")
    for row, height in zip(cells, heights, strict=True):
        for c, cell in enumerate(row):
            sheet.paste(Image.fromarray(cell), (int(lefts[c]), top))
        top += height + gap
    return np.asarray(sheet).copy()


def enlarge(image: np.ndarray) -> np.ndarray:
    """The picture with each pixel repeated by the whole number that makes the smaller side at least 256."""
    return _repeat(image, _factor(image))


def palette(names: Sequence[str]) -> dict[str, Colour]:
    """A colour for each name, all different, as far apart as their number allows.

    A colour is chosen by the name alone and moves on only if another name of the list has taken it; the order of
    the names does not matter. Give a whole vocabulary to have one set of colours for all of its pictures.
    """
    size = 32
    while size < len(set(names)):
        size *= 2
    table, taken = _distinct_colours(size), {}
    for name in sorted(set(names)):
        slot = zlib.crc32(name.encode()) % size
        while slot in taken:
            slot = (slot + 1) % size
        taken[slot] = name
    return {name: table[slot] for slot, name in taken.items()}


@lru_cache
def _distinct_colours(count: int) -> tuple[Colour, ...]:
    """Farthest-point selection in OKLab among colours that are neither dark, pale nor grey."""
    step = 17 if count <= 512 else 8
    levels = np.arange(0, 256, step)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(rgb)
    good = (lab[:, 0] > 0.5) & (lab[:, 0] < 0.86) & (np.hypot(lab[:, 1], lab[:, 2]) > 0.1)
    rgb, lab = rgb[good], lab[good]
    chosen = [int(np.argmax(lab[:, 1]))]
    distance = np.full(len(lab), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((lab - lab[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(np.argmax(distance)))
    return tuple(tuple(int(v) for v in rgb[i]) for i in chosen)


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """OKLab of sRGB 0 .. 255: a space whose distances are close to seen differences (Ottosson, 2020)."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_lms += [[0.0883024619, 0.2817188376, 0.6299787005]]
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    to_lab += [[0.0259040371, 0.7827717662, -0.8086757660]]
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T


def _segment_colours(names: Sequence[str], first: Sequence[int], colours) -> list[Colour]:
    """Each segment's shade of its category's colour, by where it begins in the picture and not by its id."""
    base = _category_colours([name for name in names if name], colours)
    rgb, seen = [(0, 0, 0)] * len(names), dict.fromkeys(names, 0)
    for i in sorted(range(len(names)), key=lambda i: first[i]):
        if names[i]:
            shade = _SHADES[seen[names[i]] % len(_SHADES)]
            seen[names[i]] += 1
            target = 255 if shade > 0 else 0
            rgb[i] = tuple(round(v + abs(shade) * (target - v)) for v in base[names[i]])
    return rgb
