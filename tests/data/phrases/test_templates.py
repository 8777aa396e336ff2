"""Template phrases: what is said is checked against the drawing by rules of the test's own."""

import colorsys

import numpy as np
import pytest
from pycocotools import mask as coco

from data.phrases.colours import NAMES, plain_colour
from data.phrases.objects import Object
from data.phrases.templates import FACTOR, LEAST, MARGIN, MOST, describe

RGB = {"red": (210, 20, 20), "yellow": (230, 210, 30), "green": (30, 160, 40), "blue": (30, 60, 200),
       "purple": (120, 30, 200), "": (128, 128, 128)}  # fmt: skip
VOCABULARY = ("cat", "car", "bear", "teddy bear", "person", "sky")
SIZE = 60, 100


def drawing(*things):
    """(objects, image) of (category, x, y, w, h, colour, crowd)."""
    image, objects = np.full((*SIZE, 3), 128, np.uint8), []
    for place, (name, x, y, w, h, colour, crowd) in enumerate(things):
        mask = np.zeros(SIZE, np.uint8)
        mask[y : y + h, x : x + w] = 1
        image[mask > 0] = RGB[colour]
        objects.append(Object(place, VOCABULARY.index(name), crowd, coco.encode(np.asfortranarray(mask))))
    return objects, image


def thing(name, x, w=10, h=10, colour="", y=20, crowd=False):
    return name, x, y, w, h, colour, crowd


def said(*things, absent=0, seed=0):
    describable = range(len(VOCABULARY) - 1)
    rng = np.random.default_rng(seed)
    return describe(*drawing(*things), VOCABULARY, describable, rng, describable, absent)


def all_said(*things):
    """All phrases of each object that some seed chooses."""
    found = {}
    for seed in range(12):
        for i, phrases in said(*things, seed=seed)[0].items():
            assert 0 < len(phrases) <= MOST
            found.setdefault(i, set()).update(phrases)
    return found


def test_one_of_a_kind_needs_no_more_than_its_name():
    found = all_said(thing("cat", 0), thing("car", 40, colour="red"), thing("sky", 80))
    assert found == {0: {"the cat"}, 1: {"the car", "the red car"}}  # No phrase for what is not describable.


def test_sides_and_sizes():
    found = all_said(thing("cat", 0), thing("cat", 60, 20, 20))
    assert found[0] == {"the left cat", "the small cat", "the left small cat"}
    assert found[1] == {"the right cat", "the large cat", "the right large cat"}
    found = all_said(thing("cat", 0), thing("cat", 40), thing("cat", 80, 20, 20))
    assert found == {0: {"the leftmost cat"}, 2: {"the rightmost cat", "the largest cat", "the rightmost largest cat"}}
    assert said(thing("cat", 0), thing("cat", 9))[0] == {}  # Too near, too similar.


def test_colours_single_out_only_where_all_are_plain():
    two = thing("car", 40, colour="red"), thing("car", 42, colour="blue", y=40)
    assert all_said(*two) == {0: {"the red car"}, 1: {"the blue car"}}
    assert all_said(two[0], thing("car", 42, colour="red", y=40)) == {}
    assert all_said(two[0], thing("car", 42, y=40)) == {}
    apart = all_said(thing("car", 0, colour="red"), thing("car", 80, colour="red"))
    assert apart[0] == {"the left car", "the left red car"}
    assert all_said(thing("person", 0, colour="red")) == {0: {"the person"}}


def test_crowds_and_names_within_names():
    assert all_said(thing("cat", 0), thing("cat", 60, crowd=True)) == {}
    assert all_said(thing("bear", 0), thing("teddy bear", 5)) == {1: {"the teddy bear"}}
    assert all_said(thing("bear", 0), thing("teddy bear", 60))[0] == {"the left bear"}
    without_mask = Object(1, 0, True, None)
    objects, image = drawing(thing("cat", 0))
    assert describe([*objects, without_mask], image, VOCABULARY, {0}, np.random.default_rng(0))[0] == {}


def test_small_objects_count_and_are_not_described():
    small = thing("cat", 0, 4, 5)
    assert 20 / 6000 < LEAST
    assert said(small)[0] == {} and list(all_said(small, thing("cat", 60))) == [1]
    assert all_said(small, thing("cat", 60))[1] == {"the right cat", "the large cat", "the right large cat"}


@pytest.mark.parametrize("seed", range(20))
def test_every_phrase_is_true_of_one_object_alone(seed):
    """By the test's own reading of the words, with random drawings."""
    rng = np.random.default_rng(seed)
    things = []
    for _ in range(rng.integers(2, 7)):
        name, colour = rng.choice(VOCABULARY[:4]), rng.choice(list(RGB))
        x, y, w, h = rng.integers(0, 70), rng.integers(0, 30), rng.integers(8, 30), rng.integers(8, 30)
        things.append((str(name), int(x), int(y), int(w), int(h), str(colour), False))
    phrases, absent = said(*things, absent=3, seed=seed)
    objects, image = drawing(*things)
    centres = [one.box[0] + one.box[2] / 2 for one in objects]
    areas = [one.area for one in objects]
    colours = [plain_colour(image[one.mask]) for one in objects]
    for i, texts in phrases.items():
        for text in texts:
            words, name = text.split()[1:], things[i][0]
            assert text.endswith(name)
            others = [j for j, one in enumerate(things) if j != i and (one[0] == name or one[0].endswith(f" {name}"))]
            for word in words[: -len(name.split())]:
                if word in NAMES:
                    assert colours[i] == word
                elif word.startswith(("left", "right")):
                    sign = 1 if word.startswith("left") else -1
                    assert all(sign * (centres[j] - centres[i]) >= 100 * MARGIN - 1e-6 for j in others)
                else:
                    big = word.startswith("large") or word.startswith("largest")
                    ratios = [areas[i] / areas[j] if big else areas[j] / areas[i] for j in others]
                    assert all(ratio >= FACTOR for ratio in ratios)
            bare = words[: -len(name.split())]
            if not bare:
                assert not others
            if bare and all(word in NAMES for word in bare):
                assert all(colours[j] not in ("", colours[i]) for j in others)
    for text in absent:
        *colour, name = (lambda w: [w[0], " ".join(w[1:])] if w[0] in NAMES else [" ".join(w)])(text.split()[1:])
        present = [j for j, one in enumerate(things) if one[0] == name or one[0].endswith(f" {name}")]
        assert not present or (colour and all(colours[j] not in ("", colour[0]) for j in present))


def test_absent_phrases_occur_in_both_kinds():
    found = {text for seed in range(30) for text in said(thing("car", 0, colour="red"), absent=2, seed=seed)[1]}
    assert {"the cat", "the blue car", "the person"} <= found
    assert not {"the car", "the red car", "the red person", "the sky"} & found
    assert said(thing("cat", 0), absent=0)[1] == []
    assert describe(*drawing(thing("cat", 0)), VOCABULARY, {0}, np.random.default_rng(0), (), 2)[1] == []


@pytest.mark.parametrize("degrees", range(0, 360, 5))
def test_colours_go_by_the_mean_hue(degrees):
    rng = np.random.default_rng(degrees)
    hues = (degrees + rng.uniform(-8, 8, 200)) % 360 / 360
    pixels = np.array([colorsys.hsv_to_rgb(hue, 0.8, 0.7) for hue in hues])
    expected = [n for n, (a, b) in {"red": (-15, 12), "yellow": (46, 64), "green": (85, 160), "blue": (200, 250),
                                    "purple": (265, 300)}.items() if a <= (degrees + 60) % 360 - 60 <= b]  # fmt: skip
    got = plain_colour((255 * pixels).astype(np.uint8))
    edges = (-15, 12, 46, 64, 85, 160, 200, 250, 265, 300)
    if min(abs((degrees - edge + 180) % 360 - 180) for edge in edges) > 2:
        assert got == (expected[0] if expected else "")


def test_no_colour_where_it_is_not_plain():
    red, blue, gray = (np.tile(np.array(RGB[name], np.uint8), (50, 1)) for name in ("red", "blue", ""))
    assert plain_colour(np.concatenate([red, red, red[:10], gray])) == "red"
    assert plain_colour(np.concatenate([red, blue])) == plain_colour(np.concatenate([red, gray])) == ""
    assert plain_colour(red[:0]) == "" == plain_colour(red // 8)
