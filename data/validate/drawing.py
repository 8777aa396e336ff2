"""Colours, fonts and short texts that the histogram and the contact sheet share."""

import colorsys
from functools import lru_cache

from PIL import ImageFont

Colour = tuple[int, int, int]

PAPER, INK, FAINT, LINE = (255, 255, 255), (33, 37, 41), (120, 127, 135), (226, 230, 234)
_GOLDEN = 0.618034  # Turns by the golden ratio keep any number of hues apart.
_TONES = ((0.55, 0.85), (0.68, 0.9), (0.45, 0.8), (0.75, 0.7))  # Lightness and saturation, in turn.
_SHADES = (0.0, 0.12, -0.12, 0.2, -0.2)  # What instances of one class add to its lightness.


def class_colour(index: int, instance: int = 0) -> Colour:
    """Colour number `index`; instances are shades of it."""
    lightness, saturation = _TONES[index % len(_TONES)]
    lightness = min(0.88, max(0.25, lightness + _SHADES[instance % len(_SHADES)]))
    red, green, blue = colorsys.hls_to_rgb((index * _GOLDEN) % 1, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow; no file of the system is needed."""
    return ImageFont.load_default(size=size)


def shorten(text: str, face, width: float) -> str:
    """Cuts a text to a width in pixels."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "...") > width:
        text = text[:-1]
    return text.rstrip() + "..."


def spell_count(count: float) -> str:
    """Three digits at most: 87, 1.2k, 34k, 5.6M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= scale:
            return f"{count / scale:.{0 if count >= 10 * scale else 1}f}{unit}"
    return f"{count:g}"
