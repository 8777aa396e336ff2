"""Names on images: text that fits, tags in segments and on boxes, and the legend."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataseg_jax.results.painting import Colours
from dataseg_jax.results.palette import FAINT, INK, PAPER

Label = str | tuple[str, float | None]

_PLATES, _PLATE_TEXT = 14, 12  # Most plates on one image, and the least height of their text in pixels.


def split_label(label: Label) -> tuple[str, float | None]:
    """(name, score); the score is None where the label is a name alone."""
    return (label, None) if isinstance(label, str) else (str(label[0]), label[1])


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow; no file of the system is needed."""
    return ImageFont.load_default(size=size)


def shorten(text: str, face, width: float) -> str:
    """The text, or as much of it as fits into `width` pixels with "..." at its end."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def text_size(height: int, width: int) -> int:
    """Height of text in pixels. It grows with the image: large images are scaled down when they are looked at."""
    side = min(width, 2 * height)
    return int(max(11, min(side / 46, max(40, side / 64))))


def draw_tags(
    painted: np.ndarray, masks: Iterable[np.ndarray], shown: Sequence[tuple[str, float | None]]
) -> np.ndarray:
    """Writes labels inside their segments, nearest to the centre where the whole text fits.

    Args:
      painted: uint8[H, W, 3].
      masks: bool[H, W] each, as many as `shown`; earlier ones are on top.
      shown: (name, score) of each.
    """
    size = text_size(*painted.shape[:2])
    face, margin = font(size), max(2, size // 4)
    image = Image.fromarray(painted)
    draw = ImageDraw.Draw(image)
    step = max(1, size // 11)  # A place for large text is searched in larger steps.
    free = np.ones_like(painted[::step, ::step, 0], bool)
    for mask, (name, score) in zip(masks, shown, strict=True):
        text = _spell(name, score)
        width, height = -(-round(face.getlength(text)) // step), -(-size // step)
        mask = mask[::step, ::step]
        # Well inside the border if there is such a place, else anywhere inside.
        margins = (-(-m // step) for m in (4 * margin, margin))
        spots = (_room(mask & free, height + 2 * m, width + 2 * m) for m in margins)
        centre = next((spot for spot in spots if spot), None)
        free &= ~mask
        if centre:
            x, y = centre
            rim = max(1, size // 8)
            draw.text((step * x, step * y), text, PAPER, face, anchor="mm", stroke_width=rim, stroke_fill=INK)
    return np.array(image)


def draw_plates(
    painted: np.ndarray, places: Sequence[tuple[int, int]], shown: Sequence[tuple[str, float | None]], centred: bool
) -> np.ndarray:
    """Writes labels on dark plates that may cover more than their segments; none covers an earlier one.

    Args:
      painted: uint8[H, W, 3].
      places: (x, y) of each plate, of its centre if `centred`, else of its upper left corner.
      shown: (name, score) of each; the first `_PLATES` that find room are written.
    """
    size = max(_PLATE_TEXT, text_size(*painted.shape[:2]))
    margin = size // 3
    image = Image.fromarray(painted)
    draw = ImageDraw.Draw(image, "RGBA")
    taken: list[tuple[int, int, int, int]] = []
    for (x, y), label in zip(places, shown, strict=True):
        if len(taken) == _PLATES:
            break
        text = shorten(_spell(*label), font(size), 11 * size)
        width, height = round(font(size).getlength(text)) + 2 * margin, size + margin
        left, top = (x - width // 2, y - height // 2) if centred else (x, y)
        left, top = max(0, min(left, image.width - width)), max(0, min(top, image.height - height))
        if any(left < b[2] and b[0] < left + width and top < b[3] and b[1] < top + height for b in taken):
            continue
        taken.append((left, top, left + width, top + height))
        draw.rectangle(taken[-1], fill=(*INK, 200))
        draw.text((left + width / 2, top + height / 2), text, PAPER, font(size), anchor="mm")
    return np.array(image)


def _spell(name: str, score: float | None) -> str:
    return name if score is None else f"{name} {score:.2f}"


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


def legend_strip(
    width: int,
    size: int,
    shown: Sequence[tuple[str, float | None]],
    areas: Iterable[int],
    colours: Colours,
) -> np.ndarray:
    """A strip with one entry per category, the largest first: chip, name, how many, lowest and highest score.

    Args:
      width: of the strip, in pixels.
      size: height of its text, in pixels.
      shown: (name, score) of each segment.
      areas: pixels of each segment.
      colours: name -> RGB.

    Returns:
      uint8[H', width, 3].
    """
    groups = {}
    for (name, score), area in zip(shown, areas, strict=True):
        groups.setdefault(name, []).append((score, area))
    entries = []
    for name in sorted(groups, key=lambda name: (-sum(area for _, area in groups[name]), name)):
        scores = sorted({f"{score:.2f}" for score, _ in groups[name] if score is not None})
        count = f"x{len(groups[name])}" if len(groups[name]) > 1 else ""
        entries.append((name, "  ".join(filter(None, [count, "-".join(scores[:1] + scores[1:][-1:])]))))

    face, gap = font(size), size
    chip, line = size, round(1.7 * size)
    widest = max((face.getlength(f"{name}  {note}") for name, note in entries), default=0) + chip + gap // 2
    columns = max(1, min(len(entries), int((width - gap) // (widest + gap))))
    rows = -(-max(1, len(entries)) // columns)
    strip = Image.new("RGB", (width, rows * line + gap), PAPER)
    draw = ImageDraw.Draw(strip)
    if not entries:
        draw.text((width // 2, strip.height // 2), "no segments", FAINT, face, anchor="mm")
    step = (width - gap) / columns
    for i, (name, note) in enumerate(entries):
        x, y = gap + round(step * (i % columns)), gap // 2 + line * (i // columns) + line // 2
        draw.rounded_rectangle((x, y - chip // 2, x + chip, y + chip // 2), chip // 5, colours[name], INK)
        room = step - gap - chip - gap // 2 - (face.getlength(f"  {note}") if note else 0)
        name = shorten(name, face, room)
        draw.text((x + chip + gap // 2, y), name, INK, face, anchor="lm")
        draw.text((x + chip + gap // 2 + face.getlength(name + "  "), y), note, FAINT, face, anchor="lm")
    return np.array(strip)
