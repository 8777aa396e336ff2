"""The shapes world: one image, from its random seed to pixels and the segment every pixel shows."""

import colorsys
import dataclasses

import cv2
import numpy as np

from data.shapes import difficulty, textures
from data.shapes.parts import CORE, core_outline
from dataseg_jax.errors import InputError

THINGS = ("circle", "square", "triangle", "star", "cross")
STUFF = ("grass", "sea", "pond", "sand")
SPLITS = ("train", "val")
# Each dataset has its own random numbers; 3, 5 and 6 are those of the segment ids in `layouts`, 9 those of its phrases.
_STREAMS = {"panoptic": 0, "semantic": 1, "boxes": 2, "transfer": 4, "referring": 7, "foreground": 8, "parts": 10}
DATASETS = tuple(_STREAMS)
PARTS = tuple((dataset, split) for dataset in DATASETS for split in SPLITS if (dataset, split) != ("transfer", "train"))
SHOWN = {
    "panoptic": ("circle", "square", "triangle", "star"),
    "semantic": ("circle", "square", "triangle", "star"),
    "boxes": ("circle", "square", "star", "cross"),
    "transfer": THINGS,
    "referring": THINGS,
    "foreground": THINGS,
    "parts": THINGS,
}

# More and smaller things than elsewhere, of any colour: a phrase needs more than the name of a shape.
_REFERRING = {"things": (2, 6), "radius": (0.1, 0.22), "hues": {name: (0.0, 1.0) for name in (*THINGS, *STUFF)}}

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class World:
    """Every constant of the drawing. Lengths are shares of the side, colours hue, saturation, value in 0..1.

    Attributes:
      difficulty: 0 to 1, or "easy" for 0 and "hard" for 1; sets every field below that is None.
      size: side of the square images in pixels.
      seed: image i of a split of a dataset depends on (seed, dataset, split, i) and on these constants only.
      things: fewest and most things drawn in an image.
      radius: of the circle around a thing, uniform.
      hues: for each class the interval of its hues; they wrap at 1.
      thing_saturation, thing_value, stuff_saturation, stuff_value: intervals of the other two colour coordinates.
      aspect: narrow over wide axis of a thing, before its rotation.
      centre: interval of the x and y of a thing's centre.
      star: inner over outer radius of a star. cross: half the width of a cross's arm over its length.
      contrast: RGB distance that a thing's colour aims to keep from what it covers.
      regions: fewest and most kinds of ground.
      ponds: fewest and most ponds where there are any; several are smaller and keep away from each other.
      thing_tone, stuff_tone: strength of the brightness patterns, relative.
      shade, gradient: relative change of brightness across a thing and across the image.
      noise: standard deviation of the pixel noise, of full scale.
      specks, lines: most small specks and thin lines strewn over an image; they belong to what lies beneath.
      seam_share: share of images whose borders between stuff are void, one pixel wide.
      patch_share, patch_radius: share of images with a round void patch, and its radius.
      min_visible: a segment with fewer visible pixels is void where there are masks and not annotated in the box sets.
      jpeg_quality: of the images, with full colour resolution.
    """

    difficulty: str | float = "easy"
    size: int = 64
    seed: int = 0
    things: tuple[int, int] | None = None
    radius: Range | None = None
    hues: dict[str, Range] | None = None
    thing_saturation: Range | None = None
    thing_value: Range | None = None
    stuff_saturation: Range | None = None
    stuff_value: Range | None = None
    aspect: Range = (0.85, 1.0)
    centre: Range = (0.15, 0.85)
    star: float = 0.6
    cross: float = 0.48
    contrast: float = 0.3
    regions: tuple[int, int] = (2, 3)
    ponds: tuple[int, int] = (1, 1)
    thing_tone: float = 0.12
    stuff_tone: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"grass": 0.3, "sea": 0.25, "pond": 0.2, "sand": 0.2}
    )
    shade: float = 0.15
    gradient: float = 0.15
    noise: float = 0.015
    specks: int = 4
    lines: int = 1
    seam_share: float = 0.25
    patch_share: float = 0.15
    patch_radius: Range = (0.03, 0.07)
    min_visible: int = 12
    jpeg_quality: int = 95

    def __post_init__(self):
        object.__setattr__(self, "difficulty", difficulty.canonical(self.difficulty))
        if not 32 <= self.size <= 1024:
            raise InputError(f"World: size is {self.size}; choose 32 to 1024 pixels")
        if self.seed < 0:
            raise InputError(f"World: seed is {self.seed}; choose 0 or more")
        if not 1 <= self.ponds[0] <= self.ponds[1]:
            raise InputError(f"World: ponds is {self.ponds}; choose a fewest of 1 or more, and a most")
        for field, value in difficulty.constants(self.difficulty).items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One drawn image.

    Attributes:
      image: uint8[H, W, 3], RGB.
      names: the class of each segment: first the pieces of ground, then the things from the lowest to the topmost.
      segments: int32[H, W], the segment that each pixel shows (at least half of it, where several meet).
      void: bool[H, W], pixels that a mask annotation leaves unlabelled.
      colours: of each segment the colour that its pattern varies, float32[3], RGB from 0 to 1; None of ground.
      wholes: of each segment the one that it is a part of; -1 for those that are none.
    """

    image: np.ndarray
    names: tuple[str, ...]
    segments: np.ndarray
    void: np.ndarray
    colours: tuple[np.ndarray | None, ...] = ()
    wholes: tuple[int, ...] = ()


def draw(world: World, dataset: str, split: str, index: int) -> Scene:
    """Draws image `index` of a dataset's split, both as in `PARTS`."""
    if dataset == "referring":
        world = dataclasses.replace(world, **_REFERRING)
    rng = np.random.default_rng([world.seed, _STREAMS[dataset], SPLITS.index(split), index])
    image, segments, names = draw_ground(world, rng)
    stuff = len(names)
    colours: list[np.ndarray | None] = [None] * stuff
    wholes = [-1] * stuff
    for _ in range(rng.integers(world.things[0], world.things[1] + 1)):
        name = str(rng.choice(SHOWN[dataset]))
        outlines = [(name, draw_outline(name, world, rng), -1)]
        if dataset == "parts":
            outlines.append((CORE, core_outline(outlines[0][1], rng), len(names)))
        for called, outline, whole in outlines:
            covered = coverage(outline, world.size)
            surface, colour = draw_surface(name, covered, image, world, rng)
            image = blend(image, covered, surface)
            segments[covered >= 0.5] = len(names)
            names.append(called)
            colours.append(colour)
            wholes.append(whole)
    void = _void(segments, stuff, world, rng)
    return Scene(finish(image, world, rng), tuple(names), segments, void, tuple(colours), tuple(wholes))


def blend(below: np.ndarray, alpha: np.ndarray, above: np.ndarray) -> np.ndarray:
    return below + alpha[..., None] * (above - below)


def _hue(name: str, world: World, rng: np.random.Generator) -> float:
    return rng.uniform(*world.hues[name]) % 1


def _colour(name: str, hue: float, world: World, rng: np.random.Generator) -> np.ndarray:
    kind = "stuff" if name in STUFF else "thing"
    saturation = rng.uniform(*getattr(world, f"{kind}_saturation"))
    value = rng.uniform(*getattr(world, f"{kind}_value"))
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def draw_ground(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Textured pieces: a base, what lies beyond a curved shore, and ponds as closed shapes on top."""
    size = world.size
    names = [str(name) for name in rng.permutation(STUFF)[: rng.integers(world.regions[0], world.regions[1] + 1)]]
    ponds = rng.integers(world.ponds[0], world.ponds[1] + 1) if "pond" in names and world.ponds[1] > 1 else 1
    names += ["pond"] * (int(ponds) - 1)
    names.sort(key=lambda name: name == "pond")
    centres = []
    segments = np.zeros((size, size), np.int32)
    image = np.zeros((size, size, 3), np.float32)
    x, y = textures.grid(size)
    room = float(ponds) ** -0.5
    for k, name in enumerate(names):
        centre = rng.uniform(0.2, 0.8, 2)
        if name == "pond":
            centre = _away(centre, centres, rng)
            centres.append(centre)
            tone = textures.pond(size, centre, rng)
            turn = np.arctan2(y - centre[1], x - centre[0])
            wobble = 1 + 0.14 * np.sin(2 * turn + rng.uniform(0, 6)) + 0.07 * np.sin(3 * turn + rng.uniform(0, 6))
            inside = rng.uniform(0.24, 0.38) * room * wobble - np.hypot(x - centre[0], y - centre[1])
        else:
            tone = getattr(textures, name)(size, rng)
            angle = rng.uniform(0, 2 * np.pi)
            across = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
            along = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
            waves = rng.uniform(0.7, 1.6) * along + rng.random()
            inside = across + rng.uniform(0.03, 0.08) * np.sin(2 * np.pi * waves)
        hue = _hue(name, world, rng)
        mottle = textures.smooth_field(size, 4, rng)
        surface = blend(_colour(name, hue, world, rng)[None, None], mottle, _colour(name, hue, world, rng))
        surface = surface * (1 + world.stuff_tone[name] * tone[..., None])
        alpha = np.clip(inside * size + 0.5, 0, 1) if k else np.ones((size, size), np.float32)
        image = blend(image, alpha, surface)
        segments[alpha >= 0.5] = k
    return image, segments, names


def _away(centre: np.ndarray, others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """`centre`, or of a few more tries the one farthest from its nearest neighbour, if there are neighbours."""
    if not others:
        return centre
    tries = np.concatenate([centre[None], rng.uniform(0.1, 0.9, (7, 2))])
    nearest = np.linalg.norm(tries[:, None] - np.array(others), axis=-1).min(1)
    return tries[np.argmax(nearest)]


def draw_outline(name: str, world: World, rng: np.random.Generator) -> np.ndarray:
    """Corners of a thing, float[n, 2] as (x, y) shares of the side, somewhere in the image at some size and angle."""
    if name == "cross":
        arm = world.cross
        corner = np.array([[1, -arm], [1, arm], [arm, arm]]) / np.hypot(1, arm)
        points = np.concatenate([corner @ np.array([[c, s], [-s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))])
    else:
        corners = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[name]
        turn = np.arange(corners) * 2 * np.pi / corners
        points = np.stack([np.cos(turn), np.sin(turn)], -1)
        if name == "star":
            points[1::2] *= world.star
    points = points * [1, rng.uniform(*world.aspect)]
    angle = rng.uniform(0, 2 * np.pi)
    points = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    radius = rng.uniform(*world.radius)
    return points * radius + rng.uniform(*world.centre, 2)


def coverage(outline: np.ndarray, size: int) -> np.ndarray:
    """Share of each pixel that lies inside a polygon, float32[size, size]."""
    fine, fraction = 4, 4
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    points = np.round((outline * size * fine - 0.5) * (1 << fraction)).astype(np.int32)
    cv2.fillPoly(canvas, [points], 255, cv2.LINE_8, fraction)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def draw_surface(
    name: str, covered: np.ndarray, below: np.ndarray, world: World, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Colours of a thing, float32[H, W, 3], and the one they vary; of a few tries the one that stands out best from
    what it covers."""
    under = below[covered >= 0.5]
    best, score = None, -1.0
    for _ in range(8):
        colour = _colour(name, _hue(name, world, rng), world, rng)
        distance = np.linalg.norm(under - colour, axis=1) if len(under) else np.ones(1)
        clear = float(np.mean(distance > world.contrast))
        if clear > score:
            best, score = colour, clear
        if score > 0.95:
            break
    x, y = textures.grid(world.size)
    angle = rng.uniform(0, 2 * np.pi)
    tone = world.thing_tone * textures.pattern(world.size, rng)
    tone = tone + world.shade * 2 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    return best * (1 + tone[..., None]), best


def _void(segments: np.ndarray, stuff: int, world: World, rng: np.random.Generator) -> np.ndarray:
    void = np.bincount(segments.ravel())[segments] < world.min_visible
    if rng.random() < world.seam_share:
        right, below = segments[:, 1:], segments[1:]
        void[:, :-1] |= (segments[:, :-1] != right) & (np.maximum(segments[:, :-1], right) < stuff)
        void[:-1] |= (segments[:-1] != below) & (np.maximum(segments[:-1], below) < stuff)
    if rng.random() < world.patch_share:
        x, y = textures.grid(world.size)
        centre, radius = rng.random(2), rng.uniform(*world.patch_radius)
        void |= np.hypot(x - centre[0], y - centre[1]) < radius
    return void


def finish(image: np.ndarray, world: World, rng: np.random.Generator) -> np.ndarray:
    """Strews specks and lines, lights the image from one side and adds noise; uint8[H, W, 3]."""
    size = world.size
    for count, length, opacity in (
        (rng.integers(world.specks + 1), 0.0, 0.8),
        (rng.integers(world.lines + 1), 0.4, 0.5),
    ):
        if not count:
            continue
        start = rng.random((count, 2))
        angle = rng.uniform(0, 2 * np.pi, count)
        step = np.stack([np.cos(angle), np.sin(angle)], -1) * (length * rng.uniform(0.4, 1, (count, 1)))
        marks = textures.line_coverage(size, np.stack([start, start + step], 1))
        image = blend(image, opacity * marks, rng.random(3, dtype=np.float32))
    x, y = textures.grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + world.gradient * 2 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    noise = world.noise * rng.standard_normal((size, size, 3), dtype=np.float32)
    return np.round(np.clip(image * light[..., None] + noise, 0, 1) * 255).astype(np.uint8)
