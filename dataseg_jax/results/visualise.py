"""Images of segmentations: coloured segments with outlines, names and a legend, and sheets to compare them.

numpy and Pillow only, no files: arrays in, arrays out. A label is the name of a category, or (name, score).
Colours belong to names; instances of one category are shades of its colour.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataseg_jax.errors import InputError
from dataseg_jax.results.palette import Colour, palette

Label = str | tuple[str, float | None]
Colours = Mapping[str, Colour]

_ALPHA = 0.5
_DIM = 0.6
_SMALLEST = 256  # Images with no side of that length are enlarged, or text and outlines would cover them.
_PAPER, _INK, _FAINT = (255, 255, 255), (33, 37, 41), (108, 117, 125)
_SHADES = (0.0, 0.25, -0.2, 0.45, -0.35)  # Towards white or dark, instance by instance.


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
      colours: name -> RGB. Give `palette(all names of the vocabulary)` to compare images; None takes the palette
        of the names in this image, where one that is close to another's may differ from image to image.
      legend: add a strip beneath with one entry per category: colour, name, number of segments, scores.
      tags: write the label into every segment that has room for it.

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
    shown = [_split(labels[int(i)]) for i in ids]
    base = _base_colours([name for name, _ in shown], colours)
    rgb = _shades([name for name, _ in shown], first, base)

    segments, image = enlarge(segments), enlarge(image)
    faded, inside = _fade(image), segments != 0
    painted = _DIM * faded
    painted[inside] = _mix(faded[inside], rgb[np.searchsorted(ids, segments[inside])], _ALPHA)
    _outline(painted, segments, inside, _line_width(inside.shape))
    return _annotate(painted, (segments == i for i in ids), shown, areas, base, legend, tags)


def instance_overlay(
    image: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray],
    labels: Sequence[Label],
    colours: Colours | None = None,
    legend: bool = True,
    tags: bool = True,
) -> np.ndarray:
    """The same for masks that may overlap: large ones lie beneath small ones, outlines on top of all.

    Args:
      image: uint8[H, W, 3], RGB.
      masks: bool[n, H, W], or a sequence of bool[H, W]; empty ones are left out.
      labels: name or (name, score) of each mask.
      colours, legend, tags: as in `overlay`.

    Raises:
      InputError: shapes or lengths disagree, or a name has no colour.
    """
    _check_image(image)
    for mask in masks:
        if np.shape(mask) != image.shape[:2]:
            raise InputError(f"instance_overlay: a mask has shape {np.shape(mask)}, must be {image.shape[:2]}")
    if len(labels) != len(masks):
        raise InputError(f"instance_overlay: {len(labels)} labels for {len(masks)} masks, must be one for each")

    areas = np.array([np.count_nonzero(mask) for mask in masks], int)
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i]]
    areas, shown = areas[order], [_split(labels[i]) for i in order]
    base = _base_colours([name for name, _ in shown], colours)
    rgb = _shades([name for name, _ in shown], [np.asarray(masks[i]).argmax() for i in order], base)

    # Fetched one at a time: all masks of a large image would fill the memory.
    def one(i) -> np.ndarray:
        return enlarge(np.asarray(masks[i], bool))

    faded = _fade(enlarge(image))
    covered = np.zeros(faded.shape[:2], bool)
    painted = faded.copy()
    width = _line_width(covered.shape)
    for i, colour in zip(order, rgb, strict=True):
        mask = one(i)
        box = _box(mask)
        covered |= mask
        painted[box][mask[box]] = _mix(painted[box][mask[box]], colour, _ALPHA)
    painted[~covered] *= _DIM
    for i in order:
        mask = one(i)
        box = _box(mask, width)
        _outline(painted[box], mask[box], mask[box], width)
    return _annotate(painted, map(one, order[::-1]), shown[::-1], areas[::-1], base, legend, tags)


def grid(rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str] = ()) -> np.ndarray:
    """A sheet of images, such as image | prediction | truth, with a heading over each column.

    Args:
      rows: uint8[H, W, 3] arrays of any sizes, at least one. Small ones are enlarged as `overlay` does, so that a
        plain image meets its overlay. A row may be shorter than the others.
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
    size = _text_size(max(heights), min(widths))
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
    """[H, W, ...] with each pixel repeated by the smallest whole number that makes the longer side 256 or more."""
    factor = max(1, -(-_SMALLEST // max(image.shape[:2])))
    if factor == 1:
        return image
    return image.repeat(factor, 0).repeat(factor, 1)


def _shades(names: Sequence[str], first: Sequence[int] | np.ndarray, base: Colours) -> np.ndarray:
    """float[n, 3]: each segment's shade of its category's colour, by where it begins and not by its id."""
    rgb, seen = np.zeros((len(names), 3)), dict.fromkeys(names, 0)
    for i in sorted(range(len(names)), key=lambda i: first[i]):
        shade = _SHADES[seen[names[i]] % len(_SHADES)]
        seen[names[i]] += 1
        rgb[i] = _mix(base[names[i]], _PAPER if shade > 0 else _INK, abs(shade))
    return rgb


def _base_colours(names: Sequence[str], colours: Colours | None) -> Colours:
    if colours is None:
        return palette(names)
    missing = sorted(set(names) - set(colours))
    if missing:
        raise InputError(f"overlay: no colour for {missing[0]!r}, `colours` must have every name that is shown")
    return colours


def _split(label: Label) -> tuple[str, float | None]:
    return (label, None) if isinstance(label, str) else (str(label[0]), label[1])


def _mix(below, above, alpha: float) -> np.ndarray:
    return (1 - alpha) * np.asarray(below, np.float32) + alpha * np.asarray(above, np.float32)


def _fade(image: np.ndarray) -> np.ndarray:
    """The image with its hues but little saturation, so that what is laid on it looks like its legend."""
    return _mix(image, (image @ np.float32([0.299, 0.587, 0.114]))[..., None], 0.7)


def _line_width(size: tuple[int, int]) -> int:
    return max(1, round(min(size) / 400))


def _box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns of a mask that is not empty, with a margin where the image has room."""
    ends = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0))
    rows, columns = (slice(max(0, first - margin), last + margin + 1) for first, last in ends)
    return rows, columns


def _outline(painted: np.ndarray, index: np.ndarray, inside: np.ndarray, width: int) -> None:
    """Draw the inner border of segments in place: light, and dark where the neighbour has the light line."""
    light, dark = np.zeros_like(inside), np.zeros_like(inside)
    for d in range(1, width + 1):
        for here, there in ((np.s_[:-d], np.s_[d:]), (np.s_[:, :-d], np.s_[:, d:])):
            differs = index[here] != index[there]
            light[here] |= differs & inside[here]
            light[there] |= differs & ~inside[here]
            dark[there] |= differs & inside[here]
    dark &= inside & ~light
    painted[light] = _mix(painted[light], _PAPER, 0.85)
    painted[dark] = _mix(painted[dark], _INK, 0.6)


def _annotate(painted, masks, shown, areas, base, legend: bool, tags: bool) -> np.ndarray:
    """Round to uint8, then tags in the image and the legend beneath it."""
    painted = painted.round().astype(np.uint8)
    if tags:
        painted = _draw_tags(painted, masks, shown)
    if legend:
        height, width = painted.shape[:2]
        # A narrow image has a legend that is wider than itself.
        strip = _legend(max(width, _SMALLEST), _text_size(height, width), shown, areas, base)
        right = np.broadcast_to(np.uint8(_PAPER), (height, strip.shape[1] - width, 3))
        painted = np.concatenate([np.concatenate([painted, right], 1), strip])
    return painted


def _draw_tags(painted: np.ndarray, masks, shown) -> np.ndarray:
    """Labels inside their segments, nearest to the centre where the whole text fits; earlier masks lie on top."""
    size = _text_size(*painted.shape[:2])
    font, margin = _font(size), max(2, size // 4)
    image = Image.fromarray(painted)
    draw = ImageDraw.Draw(image)
    step = max(1, size // 11)  # Where text is large, room for it is looked for in larger steps.
    free = np.ones_like(painted[::step, ::step, 0], bool)
    for mask, (name, score) in zip(masks, shown, strict=True):
        text = name if score is None else f"{name} {score:.2f}"
        width, height = -(-round(font.getlength(text)) // step), -(-size // step)
        mask = mask[::step, ::step]
        # Well away from the border if there is such a place, else anywhere inside.
        margins = (-(-m // step) for m in (4 * margin, margin))
        spots = (_room(mask & free, height + 2 * m, width + 2 * m) for m in margins)
        centre = next((spot for spot in spots if spot), None)
        free &= ~mask
        if centre:
            x, y = centre
            draw.text(
                (step * x, step * y), text, _PAPER, font, anchor="mm", stroke_width=max(1, size // 8), stroke_fill=_INK
            )
    return np.array(image)


def _room(mask: np.ndarray, height: int, width: int) -> tuple[int, int] | None:
    """Centre (x, y) of the rectangle inside the mask that is nearest to the mask's centre; None if none fits."""
    if mask.sum() < height * width:
        return None
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y0, x0 = ys[0], xs[0]
    mask = mask[y0 : ys[-1] + 1, x0 : xs[-1] + 1]
    total = np.pad(mask.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    fits = np.argwhere(inside == height * width)
    if len(fits) == 0:
        return None
    centre = np.argwhere(mask).mean(0) - (height / 2, width / 2)
    y, x = fits[((fits - centre) ** 2).sum(1).argmin()]
    return int(x0 + x) + width // 2, int(y0 + y) + height // 2


def _legend(width: int, size: int, shown, areas, base: Colours) -> np.ndarray:
    """A strip with one entry per category, the largest first: chip, name, how many, lowest and highest score."""
    groups = {}
    for (name, score), area in zip(shown, areas, strict=True):
        groups.setdefault(name, []).append((score, area))
    entries = []
    for name in sorted(groups, key=lambda name: (-sum(area for _, area in groups[name]), name)):
        scores = sorted({f"{score:.2f}" for score, _ in groups[name] if score is not None})
        count = f"x{len(groups[name])}" if len(groups[name]) > 1 else ""
        entries.append((name, "  ".join(filter(None, [count, "-".join(scores[:1] + scores[1:][-1:])]))))

    font, gap = _font(size), size
    chip, line = size, round(1.7 * size)
    widest = max((font.getlength(f"{name}  {note}") for name, note in entries), default=0) + chip + gap // 2
    columns = max(1, min(len(entries), int((width - gap) // (widest + gap))))
    rows = -(-max(1, len(entries)) // columns)
    strip = Image.new("RGB", (width, rows * line + gap), _PAPER)
    draw = ImageDraw.Draw(strip)
    if not entries:
        draw.text((width // 2, strip.height // 2), "no segments", _FAINT, font, anchor="mm")
    step = (width - gap) / columns
    for i, (name, note) in enumerate(entries):
        x, y = gap + round(step * (i % columns)), gap // 2 + line * (i // columns) + line // 2
        draw.rounded_rectangle((x, y - chip // 2, x + chip, y + chip // 2), chip // 5, base[name], _INK)
        room = step - gap - chip - gap // 2 - (font.getlength(f"  {note}") if note else 0)
        name = _shorten(name, font, room)
        draw.text((x + chip + gap // 2, y), name, _INK, font, anchor="lm")
        draw.text((x + chip + gap // 2 + font.getlength(name + "  "), y), note, _FAINT, font, anchor="lm")
    return np.array(strip)


def _text_size(height: int, width: int) -> int:
    """In pixels: large images are looked at as a whole, where text must stay readable."""
    side = min(width, 2 * height)
    return int(max(11, min(side / 46, max(40, side / 64))))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _shorten(text: str, font, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _check_image(image: np.ndarray) -> None:
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        what = f"{image.dtype}{list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"visualise: the image is {what}, must be a numpy array uint8[H, W, 3]")
