"""How often each class occurs, as pages of bars."""

import dataclasses
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from data.validate.summary import Summary
from dataseg_jax.results.labelling import font, shorten
from dataseg_jax.results.palette import FAINT, INK, LINE, PAPER
from dataseg_jax.text.vocabulary import Vocabulary

_ROWS = 75  # Classes of one column of a page.
_COLUMNS = 2
_ROW, _NAME, _BAR, _NUMBER, _GAP, _MARGIN = 19, 190, 118, 46, 14, 28
_HEAD = 112
_THING, _STUFF, _NEVER = (53, 115, 184), (62, 148, 101), (196, 59, 59)


@dataclasses.dataclass(frozen=True)
class Count:
    """How often one category occurs in a dataset."""

    id: int
    name: str
    thing: bool
    images: int
    targets: int
    pixels: int


def counts(vocabulary: Vocabulary, summary: Summary) -> list[Count]:
    """All categories, the most frequent first."""
    rows = [
        Count(key, name, thing, summary.images_of[k], summary.targets_of[k], summary.pixels_of[k])
        for k, (key, name, thing) in enumerate(zip(vocabulary.ids, vocabulary.names, vocabulary.is_thing, strict=True))
    ]
    return sorted(rows, key=lambda row: (-row.targets, -row.pixels, -row.images, row.name))


def histogram(title: str, rows: Sequence[Count]) -> list[Image.Image]:
    """Draws the pages of a histogram; a page holds 150 classes.

    Args:
      title: what to write above.
      rows: as `counts` gives them. Columns without information (targets where all equal the images, pixels
        where there are none) are left out.
    """
    page = _ROWS * _COLUMNS
    pages = [rows[start : start + page] for start in range(0, len(rows), page)]
    return [_page(title, rows, part, number, len(pages)) for number, part in enumerate(pages, start=1)]


def _page(title: str, rows: Sequence[Count], part: Sequence[Count], number: int, pages: int) -> Image.Image:
    panels = [("images", [row.images for row in rows])]
    if any(row.targets != row.images for row in rows):
        panels.append(("targets", [row.targets for row in rows]))
    if any(row.pixels for row in rows):
        panels.append(("pixels", [row.pixels for row in rows]))
    columns = 1 if len(part) <= _ROWS // 2 else _COLUMNS
    height = -(-len(part) // columns)
    width = _NAME + len(panels) * (_GAP + _BAR + _NUMBER)
    title = f"{title}, page {number} of {pages}" if pages > 1 else title
    room = min(1000, 2 * _MARGIN + round(font(20).getlength(title)) + 1)
    size = (max(620, room, 2 * _MARGIN + columns * width + (columns - 1) * 2 * _GAP), _HEAD + height * _ROW + _MARGIN)
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)

    draw.text((_MARGIN, 18), shorten(title, font(20), size[0] - 2 * _MARGIN), INK, font(20))
    x = _MARGIN
    for colour, number_of, text in (
        (_THING, sum(row.thing for row in rows), "things"),
        (_STUFF, sum(not row.thing for row in rows), "stuff"),
        (_NEVER, sum(not row.images for row in rows), "never seen"),
    ):
        if not number_of:
            continue
        text = f"{number_of} {text}"
        draw.rectangle((x, 56, x + 10, 66), colour)
        draw.text((x + 16, 61), text, INK, font(13), anchor="lm")
        x += 38 + round(font(13).getlength(text))
    draw.text((x, 61), "logarithmic bars, a line is a factor of ten", FAINT, font(13), anchor="lm")

    for column in range(columns):
        left = _MARGIN + column * (width + 2 * _GAP)
        shown = part[column * height : (column + 1) * height]
        _draw_names(draw, left, shown)
        for index, (heading, values) in enumerate(panels):
            x = left + _NAME + _GAP + index * (_GAP + _BAR + _NUMBER)
            _draw_bars(draw, x, heading, max(values), shown)
    return page


def _draw_names(draw: ImageDraw.ImageDraw, left: int, shown: Sequence[Count]) -> None:
    for row, count in enumerate(shown):
        y = _HEAD + row * _ROW + _ROW // 2
        colour = INK if count.images else _NEVER
        draw.text((left + _NAME, y), shorten(count.name, font(13), _NAME), colour, font(13), anchor="rm")


def _draw_bars(draw: ImageDraw.ImageDraw, x: int, heading: str, most: int, shown: Sequence[Count]) -> None:
    decades = math.log10(max(most, 1)) + 0.3  # A count of 1 has a bar of this much of a decade.
    draw.text((x, _HEAD - 16), heading, FAINT, font(13), anchor="lm")
    for decade in range(math.floor(math.log10(max(most, 1))) + 1):
        line = x + round(_BAR * (decade + 0.3) / decades)
        draw.line((line, _HEAD - 4, line, _HEAD + len(shown) * _ROW), LINE)
    draw.line((x, _HEAD - 4, x, _HEAD + len(shown) * _ROW), FAINT)
    for row, count in enumerate(shown):
        y, value = _HEAD + row * _ROW, getattr(count, heading)
        if value:
            end = x + round(_BAR * (math.log10(value) + 0.3) / decades)
            draw.rectangle((x + 1, y + 3, end, y + _ROW - 4), _THING if count.thing else _STUFF)
            draw.text((end + 5, y + _ROW // 2), spell_count(value), INK, font(12), anchor="lm")
        elif not count.images and heading == "images":
            draw.text((x + 5, y + _ROW // 2), "never seen", _NEVER, font(12), anchor="lm")


def spell_count(count: float) -> str:
    """Three digits at most: 87, 1.2k, 34k, 5.6M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.{0 if count >= 10 * scale else 1}f}{unit}"
    return f"{count:g}"
