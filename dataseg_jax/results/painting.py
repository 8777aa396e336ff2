"""Paint for segments: mixing colours, fading an image, shades of a colour, outlines, void."""

from collections.abc import Mapping, Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.results.palette import INK, PAPER, Colour, palette

Colours = Mapping[str, Colour]

_SHADES = (0.0, 0.25, -0.2, 0.45, -0.35)  # Towards white or dark, instance by instance.
_VOID, _STRIPE = 0.3, 110  # Brightness of void, and the grey level of the stripes on it.


def base_colours(names: Sequence[str], colours: Colours | None) -> Colours:
    """`colours`, or the palette of `names` if None. Raises InputError if a name has no colour."""
    if colours is None:
        return palette(names)
    missing = sorted(set(names) - set(colours))
    if missing:
        raise InputError(f"overlay: no colour for {missing[0]!r}, `colours` must have every name that is shown")
    return colours


def shades(names: Sequence[str], first: Sequence[int] | np.ndarray, base: Colours) -> np.ndarray:
    """float[n, 3]: each segment's shade of its category's colour, in order of its first pixel, not of its id."""
    rgb, seen = np.zeros((len(names), 3)), dict.fromkeys(names, 0)
    for i in sorted(range(len(names)), key=lambda i: first[i]):
        shade = _SHADES[seen[names[i]] % len(_SHADES)]
        seen[names[i]] += 1
        rgb[i] = mix(base[names[i]], PAPER if shade > 0 else INK, abs(shade))
    return rgb


def mix(below, above, alpha: float) -> np.ndarray:
    """float32: (1 - alpha) below + alpha above."""
    return (1 - alpha) * np.asarray(below, np.float32) + alpha * np.asarray(above, np.float32)


def faded(image: np.ndarray) -> np.ndarray:
    """The image with little saturation, so that colours on it look like those of the legend."""
    return mix(image, (image @ np.float32([0.299, 0.587, 0.114]))[..., None], 0.7)


def line_width(size: tuple[int, int]) -> int:
    """Pixels of a border line in an image of (height, width)."""
    return max(1, round(min(size) / 400))


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty, as slices, with a margin where the image has room."""
    ends = (np.flatnonzero(mask.any(axis))[[0, -1]] for axis in (1, 0))
    rows, columns = (slice(max(0, first - margin), last + margin + 1) for first, last in ends)
    return rows, columns


def outline(painted: np.ndarray, index: np.ndarray, inside: np.ndarray, width: int) -> None:
    """Draws the inner border of segments in place: light, and dark where the neighbour has the light line.

    Args:
      painted: float[H, W, 3], changed.
      index: [H, W], pixels of one segment have one value.
      inside: bool[H, W], where there is a segment.
      width: of the lines, in pixels.
    """
    light, dark = np.zeros_like(inside), np.zeros_like(inside)
    for d in range(1, width + 1):
        for here, there in ((np.s_[:-d], np.s_[d:]), (np.s_[:, :-d], np.s_[:, d:])):
            differs = index[here] != index[there]
            light[here] |= differs & inside[here]
            light[there] |= differs & ~inside[here]
            dark[there] |= differs & inside[here]
    dark &= inside & ~light
    painted[light] = mix(painted[light], PAPER, 0.85)
    painted[dark] = mix(painted[dark], INK, 0.6)


def hatch(painted: np.ndarray, void: np.ndarray) -> None:
    """Makes the pixels of `void`, bool[H, W], dark with grey stripes, in place."""
    y, x = np.indices(void.shape, sparse=True)
    painted[void] = _VOID * painted[void]
    painted[void & ((x + y) % 10 < 2)] = _STRIPE
