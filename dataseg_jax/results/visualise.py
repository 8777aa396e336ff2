"""Images of segmentations: coloured segments with outlines, names and a legend, and sheets to compare them.

numpy and Pillow only, no files: arrays in, arrays out. A label is the name of a category, or (name, score).
Colours belong to names; instances of one category are shades of its colour. `data.validate` draws annotations with
the same functions.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from dataseg_jax.errors import InputError
from dataseg_jax.results import painting
from dataseg_jax.results.labelling import (
    Label,
    draw_plates,
    draw_tags,
    font,
    legend_strip,
    shorten,
    split_label,
    text_size,
)
from dataseg_jax.results.painting import Colours, mix
from dataseg_jax.results.palette import INK, PAPER

_ALPHA = 0.5
_BOX_ALPHA = 0.12  # Much less than that of masks: a box also covers the surroundings of its target.
_DIM = 0.6
_SMALLEST = 256  # Images whose longer side is below it are enlarged, or text and outlines would cover them.


def overlay(
    image: np.ndarray,
    segments: np.ndarray,
    labels: Mapping[int, Label],
    colours: Colours | None = None,
    legend: bool = True,
    tags: bool = True,
) -> np.ndarray:
    """An image with its segments: colour at alpha .5, a light and dark line along borders, void grey and dim.

    Args:
      image: uint8[H, W, 3], RGB. Small images are enlarged, see `enlarge`.
      segments: int[H, W], 0 = void.
      labels: segment id -> name or (name, score). Ids that do not occur in `segments` are left out.
      colours: name -> RGB. Give `palette(all names of the vocabulary)` for equal colours in all images; None is the
        palette of the names in this image, where a colour may differ from that in another image.
      legend: add a strip beneath with one entry per category: colour, name, number of segments, scores.
      tags: write the label into every segment that it fits into.

    Returns:
      uint8[H', W', 3]; without legend the size is that of `enlarge(image)`, with it at least 256 pixels wide.

    Raises:
      InputError: shapes disagree, an id of `segments` has no label, or a name has no colour.
    """
    _check_image(image)
    segments = np.asarray(segments)
    if segments.shape != image.shape[:2]:
        raise InputError(f"overlay: segments have shape {segments.shape}, the image needs {image.shape[:2]}")
    ids, first, areas = np.unique(segments[segments != 0], return_index=True, return_counts=True)
    missing = [int(i) for i in ids if int(i) not in labels]
    if missing:
        raise InputError(f"overlay: segment {missing[0]} has no label, labels are given for {sorted(labels)}")
    shown = [split_label(labels[int(i)]) for i in ids]
    base = painting.base_colours([name for name, _ in shown], colours)
    rgb = painting.shades([name for name, _ in shown], first, base)

    segments, image = enlarge(segments), enlarge(image)
    faded, inside = painting.faded(image), segments != 0
    painted = _DIM * faded
    painted[inside] = mix(faded[inside], rgb[np.searchsorted(ids, segments[inside])], _ALPHA)
    painting.outline(painted, segments, inside, painting.line_width(inside.shape))
    return _annotate(painted, (segments == i for i in ids), shown, areas, base, legend, tags)


def instance_overlay(
    image: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[Label],
    colours: Colours | None = None,
    legend: bool = True,
    tags: bool = True,
    void: np.ndarray | None = None,
) -> np.ndarray:
    """`overlay` for masks that may overlap: large ones are beneath small ones, outlines on top of all.

    Args:
      image: uint8[H, W, 3], RGB.
      masks: bool[n, H, W], or a sequence of bool[H, W]; empty ones are left out.
      labels: name or (name, score) of each mask.
      colours, legend, tags: as in `overlay`.
      void: bool[H, W], for annotations: void pixels, drawn dark and striped. Pixels that are neither void nor in a mask
        then keep their brightness; without `void` they are dimmed.

    Raises:
      InputError: shapes or lengths disagree, or a name has no colour.
    """
    _check_image(image)
    for mask in itertools.chain(masks, [] if void is None else [void]):
        if np.shape(mask) != image.shape[:2]:
            raise InputError(f"instance_overlay: a mask has shape {np.shape(mask)}, must be {image.shape[:2]}")
    if len(labels) != len(masks):
        raise InputError(f"instance_overlay: {len(labels)} labels for {len(masks)} masks, must be one for each")

    areas = np.array([np.count_nonzero(mask) for mask in masks], int)
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i]]
    areas, shown = areas[order], [split_label(labels[i]) for i in order]
    base = painting.base_colours([name for name, _ in shown], colours)
    rgb = painting.shades([name for name, _ in shown], [np.asarray(masks[i]).argmax() for i in order], base)

    # Decoded one at a time: all masks of a large image would fill the memory.
    def one(i) -> np.ndarray:
        return enlarge(np.asarray(masks[i], bool))

    faded = painting.faded(enlarge(image))
    covered = np.zeros(faded.shape[:2], bool)
    painted = faded.copy()
    width = painting.line_width(covered.shape)
    for i, colour in zip(order, rgb, strict=True):
        mask = one(i)
        box = painting.box_of(mask)
        covered |= mask
        painted[box][mask[box]] = mix(painted[box][mask[box]], colour, _ALPHA)
    if void is None:
        painted[~covered] *= _DIM
    else:
        painting.hatch(painted, enlarge(void))
    for i in order:
        mask = one(i)
        box = painting.box_of(mask, width)
        painting.outline(painted[box], mask[box], mask[box], width)
    return _annotate(painted, map(one, order[::-1]), shown[::-1], areas[::-1], base, legend, tags)


def box_overlay(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[Label],
    colours: Colours | None = None,
    tags: bool = True,
) -> np.ndarray:
    """An image with boxes: frames with a dark rim and a little colour inside, large ones beneath small ones.

    Args:
      image: uint8[H, W, 3], RGB. Small images are enlarged, see `enlarge`.
      boxes: float[n, 4], x0 y0 x1 y1 in pixels; right and lower edges are exclusive.
      labels: name or (name, score) of each box.
      colours: as in `overlay`.
      tags: write labels on plates in the upper left corners, unless the plate of a larger box is there.

    Returns:
      uint8[H', W', 3], the size of `enlarge(image)`.

    Raises:
      InputError: there are not as many labels as boxes, or a name has no colour.
    """
    _check_image(image)
    if len(labels) != len(boxes):
        raise InputError(f"box_overlay: {len(labels)} labels for {len(boxes)} boxes, must be one for each")
    large = enlarge(image)
    boxes = np.asarray(boxes, float).reshape(-1, 4) * (large.shape[0] / image.shape[0])
    order = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
    boxes, shown = boxes[order], [split_label(labels[i]) for i in order]
    names = [name for name, _ in shown]
    # Shades go by position, as those of masks do.
    rgb = painting.shades(names, [tuple(box[[1, 0]]) for box in boxes], painting.base_colours(names, colours))
    corners = np.clip(boxes.round().astype(int), 0, [*large.shape[1::-1]] * 2).tolist()
    painted = large.astype(np.float32)
    for (x0, y0, x1, y1), colour in zip(corners, rgb, strict=True):
        painted[y0:y1, x0:x1] = mix(painted[y0:y1, x0:x1], colour, _BOX_ALPHA)
    canvas = Image.fromarray(painted.round().astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for (x0, y0, x1, y1), colour in zip(corners, rgb.round().astype(int).tolist(), strict=True):
        x1, y1 = max(x0, x1 - 1), max(y0, y1 - 1)
        draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=INK, width=4)
        draw.rectangle((x0, y0, x1, y1), outline=tuple(colour), width=2)
    drawn = np.array(canvas)
    return draw_plates(drawn, [(x, y) for x, y, _, _ in corners], shown, centred=False) if tags else drawn


def grid(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str] = ()) -> np.ndarray:
    """A sheet of images, such as image | prediction | truth, with a heading over each column.

    Args:
      rows: uint8[H, W, 3] arrays of any sizes, at least one. Small ones are enlarged as by `overlay`, so that
        an image and its overlay have one size. A row may be shorter than the others.
      captions: heading of each column; none leaves the headings out.

    Raises:
      InputError: no image, not an RGB image, or a number of captions that is not that of the columns.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise InputError("grid: no image, needs at least one row of one image")
    if captions and len(captions) != columns:
        raise InputError(f"grid: {len(captions)} captions for {columns} columns, must be one for each")
    for cell in (cell for row in rows for cell in row):
        _check_image(cell)
    cells = [[enlarge(cell) for cell in row] for row in rows]
    widths = [max(row[c].shape[1] for row in cells if c < len(row)) for c in range(columns)]
    heights = [max((cell.shape[0] for cell in row), default=0) for row in cells]
    size = text_size(max(heights), min(widths))
    gap = size
    top = gap + (2 * size if captions else 0)

    sheet = Image.new("RGB", (gap + sum(w + gap for w in widths), top + sum(h + gap for h in heights)), PAPER)
    draw, face = ImageDraw.Draw(sheet), font(round(1.2 * size))
    lefts = np.cumsum([gap] + [w + gap for w in widths])
    for c, caption in enumerate(captions):
        text = shorten(caption, face, widths[c])
        draw.text((lefts[c] + widths[c] // 2, (top + gap // 2) // 2), text, INK, face, anchor="mm")
    for row, height in zip(cells, heights, strict=True):
        for c, cell in enumerate(row):
            sheet.paste(Image.fromarray(cell), (int(lefts[c]), top))
        top += height + gap
    return np.asarray(sheet).copy()


def enlarge(image: np.ndarray) -> np.ndarray:
    """[H, W, ...] with each pixel repeated by the smallest whole number that makes the longer side 256 or more."""
    factor = max(1, -(-_SMALLEST // max(image.shape[:2])))
    if factor == 1:
        return image
    return image.repeat(factor, 0).repeat(factor, 1)


def _annotate(painted, masks, shown, areas, base, legend: bool, tags: bool) -> np.ndarray:
    """Round to uint8, then tags in the image and the legend beneath it."""
    painted = painted.round().astype(np.uint8)
    if tags:
        painted = draw_tags(painted, masks, shown)
    if legend:
        height, width = painted.shape[:2]
        # The legend of a narrow image is wider than the image.
        strip = legend_strip(max(width, _SMALLEST), text_size(height, width), shown, areas, base)
        right = np.broadcast_to(np.uint8(PAPER), (height, strip.shape[1] - width, 3))
        painted = np.concatenate([np.concatenate([painted, right], 1), strip])
    return painted


def _check_image(image: np.ndarray) -> None:
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"visualise: the image is {what}, must be a numpy array uint8[H, W, 3]")
