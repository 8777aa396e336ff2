"""Phrases of known truth about a drawing: "the left small red disc" describes one thing, or none at all.

An attribute is said of a thing only where it is plain, and denied only where it is plain too: a thing of a hue between
red and orange is called neither, and no phrase depends on which of the two it is.
"""

import colorsys
import dataclasses
import itertools

import numpy as np

from data.shapes.world import Scene, World

SHAPES = {"circle": "disc", "square": "square", "triangle": "triangle", "star": "star", "cross": "cross"}
PLACES = ("left", "right", "top", "bottom")
SIZES = ("small", "large")
# Name -> the interval of hues that is plainly of it; hues wrap at 1.
COLOURS = {
    "red": (0.97, 0.03), "orange": (0.06, 0.10), "yellow": (0.13, 0.18), "green": (0.26, 0.41), "cyan": (0.47, 0.53),
    "blue": (0.57, 0.69), "purple": (0.73, 0.81), "pink": (0.85, 0.93),
}  # fmt: skip
DOUBT = 0.05  # Of a hue beyond the interval, and of a place beyond the middle: neither plainly so nor plainly not.
AREAS = {"small": (0.0, 0.06), "large": (0.10, 1.0)}  # Of the visible part, as shares of the image.
OFTEN = 3  # Phrases of a thing, as in RefCOCO.
ABSENT = 2  # Phrases of an image that describe nothing in it.


def all_phrases() -> tuple[str, ...]:
    """Every phrase that can be said, sorted."""
    kinds = (("", *PLACES), ("", *SIZES), ("", *COLOURS), SHAPES.values())
    return tuple(sorted(_phrase(*words) for words in itertools.product(*kinds)))


@dataclasses.dataclass(frozen=True)
class _Look:
    """One thing: the words that plainly fit it, and those that may fit."""

    plain: frozenset[str]
    possible: frozenset[str]


def describe(scene: Scene, world: World, rng: np.random.Generator) -> tuple[dict[int, list[str]], list[str]]:
    """Phrases about a drawing.

    Returns:
      Segment -> phrases that describe it and nothing else; and phrases that describe nothing in the drawing.
    """
    shown = np.where(scene.void, -1, scene.segments)
    looks = {}
    for segment, name in enumerate(scene.names):
        mask = shown == segment
        if name in SHAPES and np.count_nonzero(scene.segments == segment) >= world.min_visible:
            looks[segment] = _look(name, mask if mask.any() else scene.segments == segment, scene.colours[segment])
    phrases = {segment: _own_phrases(segment, looks, rng) for segment in looks}
    return {segment: texts for segment, texts in phrases.items() if texts}, _absent_phrases(looks, rng)


def _look(name: str, mask: np.ndarray, colour: np.ndarray) -> _Look:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    across = (columns[0] + columns[-1] + 1) / (2 * width)
    down = (rows[0] + rows[-1] + 1) / (2 * height)
    area = mask.mean()
    hue = colorsys.rgb_to_hsv(*colour.tolist())[0]
    plain, possible = {SHAPES[name]}, {SHAPES[name]}
    for low, high, value in (("left", "right", across), ("top", "bottom", down)):
        possible |= {low} if value < 0.5 + DOUBT else set()
        possible |= {high} if value > 0.5 - DOUBT else set()
        plain |= {low} if value < 0.5 - DOUBT else {high} if value > 0.5 + DOUBT else set()
    for word, (least, most) in AREAS.items():
        plain |= {word} if least <= area <= most else set()
        possible |= {word} if least - 0.02 <= area <= most + 0.02 else set()
    for word, (first, last) in COLOURS.items():
        plain |= {word} if (hue - first) % 1 <= (last - first) % 1 else set()
        possible |= {word} if (hue - first + DOUBT) % 1 <= (last - first) % 1 + 2 * DOUBT else set()
    return _Look(frozenset(plain), frozenset(possible))


def _own_phrases(segment: int, looks: dict[int, _Look], rng: np.random.Generator) -> list[str]:
    """Phrases of words that plainly fit the segment and, together, plainly no other."""
    own = looks[segment].plain
    choices = [["", *(word for word in words if word in own)] for words in (PLACES, SIZES, COLOURS)]
    shape = next(word for word in SHAPES.values() if word in own)
    fitting = [
        words
        for words in itertools.product(*choices, [shape])
        if not any({*words} - {""} <= look.possible for other, look in looks.items() if other != segment)
    ]
    kept = rng.permutation(len(fitting))[:OFTEN]
    return [_phrase(*fitting[i]) for i in kept]


def _absent_phrases(looks: dict[int, _Look], rng: np.random.Generator) -> list[str]:
    """Phrases whose words together fit nothing, not even in doubt; most differ in one word from what is there."""
    kinds = (PLACES, SIZES, tuple(COLOURS), tuple(SHAPES.values()))
    found: list[str] = []
    for _ in range(8 * ABSENT):
        said = rng.random(len(kinds)) < (0.5, 0.3, 0.7, 1)
        words = [str(rng.choice(kind)) if say else "" for kind, say in zip(kinds, said, strict=True)]
        if len(found) < ABSENT and not any({*words} - {""} <= look.possible for look in looks.values()):
            found.append(_phrase(*words))
    return list(dict.fromkeys(found))


def _phrase(*words: str) -> str:
    return " ".join(["the", *filter(None, words)])
