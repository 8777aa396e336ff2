"""Phrases made of a category, a side, a size and a colour, which fit one object of an image alone, or none.

What is said is true by construction, as far as the annotations are complete: a word is used where it holds by a clear
margin, and never of a category of which the image has a crowd, whose objects nobody counted.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from data.phrases.colours import NAMES, plain_colour
from data.phrases.objects import Object

# ours, all of them.
MARGIN = 0.1  # Of the image's width, between the left object and the others: centres of boxes, and of masks.
FACTOR = 2.0  # Of areas, between a large object and the others.
LEAST = 0.004  # Share of the image that an object must have to be described; all count as others.
MOST = 3  # Phrases of an object, as in RefCOCO.
# Last words of names of what has no colour of its own: people, and what shows or holds other things.
UNCOLOURED = (
    "person", "rider", "pedestrian", "people", "man", "woman", "child", "boy", "girl", "glass", "bottle", "vase",
    "racket", "table", "bowl", "tv", "laptop", "phone", "sink", "fork", "knife", "spoon",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Look:
    """An object as its phrases see it: places as shares of the width, area as one of the image."""

    name: str
    one: bool  # Not a crowd.
    places: tuple[float, float]  # The centre of its box, and that of its mask.
    area: float
    colour: str


def describe(
    objects: Sequence[Object],
    image: np.ndarray,
    names: Sequence[str],
    describable: Collection[int],
    rng: np.random.Generator,
    absent: Collection[int] = (),
    most_absent: int = 0,
) -> tuple[dict[int, list[str]], list[str]]:
    """Phrases of the objects of an image.

    Args:
      objects: all of them.
      image: uint8[H, W, 3], RGB.
      names: of the vocabulary's categories, as they are said.
      describable: categories that get phrases: things of which every object is annotated.
      rng: chooses among the phrases that fit.
      absent: categories that may be said to be absent, where the image has none of them.
      most_absent: phrases that fit nothing.

    Returns:
      Index of an object -> phrases that describe it and nothing else, at most `MOST`; phrases that describe nothing.
    """
    looks = [_look(one, image, names) for one in objects]
    found = {}
    for i, one in enumerate(objects):
        if one.category in describable and looks[i].one and looks[i].area >= LEAST:
            others = [look for j, look in enumerate(looks) if j != i and _is_a(look.name, looks[i].name)]
            phrases = _own_phrases(looks[i], others)
            if phrases:
                found[i] = [phrases[k] for k in sorted(rng.permutation(len(phrases))[:MOST])]
    lacking = [names[k] for k in sorted(absent)]
    return found, _absent_phrases(looks, {names[k] for k in describable}, lacking, rng, most_absent)


def _look(one: Object, image: np.ndarray, names: Sequence[str]) -> _Look:
    name = names[one.category]
    if one.crowd:
        return _Look(name, False, (0, 0), 0, "")
    x, _, width, _ = one.box
    mask, whole = one.mask, image.shape[1]
    colour = plain_colour(image[mask]) if _coloured(name) else ""
    places = (x + width / 2) / whole, (np.nonzero(mask)[1].mean() + 0.5) / whole
    return _Look(name, True, places, one.area / mask.size, colour)


def _coloured(name: str) -> bool:
    return name.split()[-1] not in UNCOLOURED


def _is_a(name: str, kind: str) -> bool:
    """Whether a thing called `name` could be meant by `kind`: a teddy bear may be called a bear."""
    return name == kind or name.endswith(f" {kind}")


def _own_phrases(own: _Look, others: Sequence[_Look]) -> list[str]:
    """Phrases that fit `own` and none of the others that could be meant by its name."""
    if not all(other.one for other in others):
        return []
    if not others:
        return [_phrase(own.name), *([_phrase(own.colour, own.name)] if own.colour else [])]
    many = len(others) > 1
    side = size = ""
    if all(_left_of(own, other) for other in others):
        side = "leftmost" if many else "left"
    elif all(_left_of(other, own) for other in others):
        side = "rightmost" if many else "right"
    if all(own.area >= FACTOR * other.area for other in others):
        size = "largest" if many else "large"
    elif all(FACTOR * own.area <= other.area for other in others):
        size = "smallest" if many else "small"
    alone = own.colour and all(other.colour not in ("", own.colour) for other in others)
    said = [(side, "", ""), ("", size, ""), (side, size, "")]
    said += [(side, "", own.colour), ("", size, own.colour)]  # Two words of which one is enough.
    said = [words for words in said if words[0] or words[1]]
    said += [("", "", own.colour)] if alone else []
    return list(dict.fromkeys(_phrase(*words, own.name) for words in said))


def _left_of(one: _Look, other: _Look) -> bool:
    return all(a + MARGIN <= b for a, b in zip(one.places, other.places, strict=True))


def _absent_phrases(
    looks: Sequence[_Look], describable: Collection[str], lacking: Sequence[str], rng: np.random.Generator, most: int
) -> list[str]:
    """Phrases of categories that the image lacks, with or without a colour, and of present ones in a colour of none."""
    missing = [name for name in lacking if not any(_is_a(look.name, name) for look in looks)]
    wrong = []
    for kind in sorted({look.name for look in looks if look.colour and look.name in describable}):
        colours = {look.colour for look in looks if _is_a(look.name, kind)}
        if "" not in colours:  # All are plain, and no crowd is among them.
            wrong += [_phrase(colour, kind) for colour in NAMES if colour not in colours]
    found: list[str] = []
    for _ in range(most if missing or wrong else 0):
        if wrong and (not missing or rng.random() < 0.5):
            found.append(wrong[rng.integers(len(wrong))])
            continue
        name = missing[rng.integers(len(missing))]
        colour = NAMES[rng.integers(len(NAMES))] if _coloured(name) and rng.random() < 0.5 else ""
        found.append(_phrase(colour, name))
    return list(dict.fromkeys(found))


def _phrase(*words: str) -> str:
    return " ".join(["the", *filter(None, words)])
