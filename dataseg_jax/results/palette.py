"""Colours for category names: stable, and as far apart for the eye as possible."""

import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]

# Colours that belong to no category: background, text, faint text and thin lines.
PAPER, INK, FAINT, LINE = (255, 255, 255), (33, 37, 41), (108, 117, 125), (226, 230, 234)

_CLOSE = 0.1  # Colours closer than this in OKLab are hard to distinguish.
_RGB_TO_LMS = np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
_LMS_TO_LAB = np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])


def palette(names: Sequence[str]) -> dict[str, Colour]:
    """A colour for each name, all different and as far apart as their number allows.

    The colour is chosen by the name alone and moves on only where another name of the list is too close to it; the
    order of the names does not matter. Give a whole vocabulary to have one set of colours for all of its images.
    """
    names = sorted(set(names))
    table = _distinct_colours(max(64, 2 ** len(names).bit_length()))
    lab, chosen = _oklab(np.array(table)), {}
    distance = np.full(len(table), np.inf)  # From each colour to the nearest that is taken.
    for name in names:
        turn = np.roll(np.arange(len(table)), -(zlib.crc32(name.encode()) % len(table)))
        entry = turn[np.argmax(distance[turn] >= min(_CLOSE, distance.max()))]
        chosen[name] = table[entry]
        distance = np.minimum(distance, np.linalg.norm(lab - lab[entry], axis=-1))
    return chosen


@lru_cache
def _distinct_colours(count: int) -> tuple[Colour, ...]:
    """Farthest-point selection in OKLab among colours that are neither dark, pale, grey nor glaring."""
    levels = np.arange(0, 256, 17 if count <= 512 else 8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(rgb)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    good = (lab[:, 0] > 0.5) & (lab[:, 0] < 0.88) & (chroma > 0.1) & (chroma < 0.22)
    rgb, lab = rgb[good], lab[good]
    chosen, distance = [0], np.full(len(lab), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=-1))
        chosen.append(int(np.argmax(distance)))
    return tuple(map(tuple, rgb[chosen].tolist()))


def _oklab(rgb: np.ndarray) -> np.ndarray:
    """OKLab of sRGB 0 .. 255: a space whose distances are close to seen differences (Ottosson, 2020)."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _RGB_TO_LMS) @ _LMS_TO_LAB
