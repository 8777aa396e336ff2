"""Images and a video to try the page with, drawn when they are asked for.

Shapes on textured ground, as `data.shapes` draws them for the models of the package, which know nothing else.
"""

import dataclasses
from functools import lru_cache

import cv2
import numpy as np

SIDE = 400
FRAMES, FRAME_SIDE = 24, 240
_FINE = 4  # Times the side at which outlines are drawn, and then averaged.
_INNER = 0.6  # Inner over outer radius of a star.

Colour = tuple[float, float, float]  # RGB from 0 to 1.
GRASS, SAND, SEA = (0.42, 0.62, 0.22), (0.82, 0.66, 0.36), (0.20, 0.44, 0.72)
# Of the hues that the models were trained on: circles are red, squares yellow, triangles green, stars blue.
RED, YELLOW, GREEN, BLUE = (0.90, 0.22, 0.24), (0.96, 0.82, 0.20), (0.16, 0.78, 0.48), (0.28, 0.48, 0.95)
PINK, ORANGE, CYAN = (0.92, 0.34, 0.62), (0.95, 0.62, 0.18), (0.20, 0.75, 0.92)


@dataclasses.dataclass(frozen=True)
class Thing:
    """A shape: its name, centre and radius as shares of the side, turn in radians, colour, and stripes or none."""

    name: str
    x: float
    y: float
    radius: float
    colour: Colour
    turn: float = 0.0
    striped: bool = False


SCENES = {
    "shore": (
        (GRASS, "grass"),
        (SEA, "sea"),
        (
            Thing("star", 0.27, 0.33, 0.22, BLUE, 0.3),
            Thing("circle", 0.73, 0.55, 0.17, RED),
            Thing("square", 0.34, 0.77, 0.20, YELLOW, 0.4),
        ),
    ),
    "beach": (
        (SAND, "sand"),
        (SEA, "sea"),
        (
            Thing("circle", 0.26, 0.64, 0.19, PINK, striped=True),
            Thing("triangle", 0.46, 0.26, 0.22, GREEN, 0.5),
            Thing("star", 0.70, 0.72, 0.21, BLUE, 0.9),
        ),
    ),
    "bay": (
        (SEA, "sea"),
        (GRASS, "grass"),
        (
            Thing("square", 0.30, 0.40, 0.20, YELLOW, 0.1, striped=True),
            Thing("circle", 0.68, 0.70, 0.19, RED),
        ),
    ),
    "meadow": (
        (GRASS, "grass"),
        (SAND, "sand"),
        (
            Thing("star", 0.27, 0.28, 0.20, CYAN, 0.2),
            Thing("circle", 0.66, 0.42, 0.17, RED, striped=True),
            Thing("circle", 0.36, 0.74, 0.18, PINK),
        ),
    ),
}
WORDS = "circle, square, triangle, star, grass:stuff, water:stuff, sand:stuff"
PHRASES = "the star, the red disc"


@lru_cache
def images() -> dict[str, np.ndarray]:
    """Name -> uint8[SIDE, SIDE, 3]."""
    return {name: _scene(index, SIDE, *parts) for index, (name, parts) in enumerate(SCENES.items())}


@lru_cache
def video() -> np.ndarray:
    """uint8[FRAMES, FRAME_SIDE, FRAME_SIDE, 3]: a star and a square cross a meadow, a circle stays."""
    frames = []
    for t in np.linspace(0, 1, FRAMES):
        frames.append(_scene(7, FRAME_SIDE, (GRASS, "grass"), (SAND, "sand"), things_of_video(t)))
    return np.stack(frames)


def things_of_video(t: float) -> tuple[Thing, ...]:
    """The shapes at a time from 0 to 1, the topmost last."""
    return (
        Thing("circle", 0.5, 0.2, 0.13, RED),
        Thing("square", 0.82 - 0.5 * t, 0.78, 0.16, YELLOW, 0.3 + 0.7 * t),
        Thing("star", 0.22 + 0.45 * t, 0.50 - 0.08 * np.sin(np.pi * t), 0.2, BLUE, 0.3 + 0.8 * t),
    )


def _scene(seed: int, side: int, near, far, things: tuple[Thing, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    shore = y - 0.9 * x + 0.06 * np.sin(2 * np.pi * (1.2 * x + 0.7 * y)) + 0.36
    beyond = np.clip(-shore * side + 0.5, 0, 1)[..., None]
    image = (1 - beyond) * _ground(*near, side, rng) + beyond * _ground(*far, side, rng)
    for thing in things:
        covered = inside(thing, side)[..., None]
        stripes = np.sin(2 * np.pi * (x + y) / 0.1)
        tone = 1 + 0.2 * (0.5 - y) + (0.12 * np.clip(3 * stripes, -1, 1) if thing.striped else 0)
        image = (1 - covered) * image + covered * np.array(thing.colour) * tone[..., None]
    noise = 0.015 * rng.standard_normal(image.shape)
    return np.round(np.clip(image + noise, 0, 1) * 255).astype(np.uint8)


def _ground(colour: Colour, kind: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """float[side, side, 3]: strokes of grass, waves of a sea, or grains of sand."""
    coarse = cv2.resize(rng.random((4, 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    if kind == "sea":
        across = np.arange(side)[:, None] / side + 0.02 * np.sin(np.arange(side)[None] * 9 / side)
        wave = np.sin(2 * np.pi * across / 0.11)
        tone = 0.25 * np.where(wave > 0, wave**2, 0.5 * wave)
    elif kind == "sand":
        grains = cv2.resize(rng.random((64, 64)), (side, side), interpolation=cv2.INTER_NEAREST)
        tone = 0.2 * np.where(grains < 0.12, -1, np.where(grains > 0.88, 1, 0.6 * (grains - 0.5)))
    else:
        tone = 0.3 * (_strokes(side, rng) - _strokes(side, rng))
    return np.array(colour) * (1 + (0.12 * (coarse - 0.5) + tone)[..., None])


def _strokes(side: int, rng: np.random.Generator) -> np.ndarray:
    canvas = np.zeros((side, side), np.uint8)
    start = rng.random((70, 2)) * side
    angle = rng.normal(0.5 * np.pi, 0.3, 70)
    end = start + np.stack([np.cos(angle), np.sin(angle)], -1) * rng.uniform(0.06, 0.12, (70, 1)) * side
    for first, last in zip(start.astype(int).tolist(), end.astype(int).tolist(), strict=True):
        cv2.line(canvas, first, last, 255, max(1, side // 64), cv2.LINE_AA)
    return canvas / 255


def inside(thing: Thing, side: int) -> np.ndarray:
    """Share of each pixel that lies inside a shape, float[side, side]."""
    corners = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[thing.name]
    turns = thing.turn + np.arange(corners) * 2 * np.pi / corners
    radii = np.full(corners, thing.radius)
    if thing.name == "star":
        radii[1::2] *= _INNER
    points = np.stack([thing.x + radii * np.cos(turns), thing.y + radii * np.sin(turns)], -1)
    canvas = np.zeros((side * _FINE, side * _FINE), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * side * _FINE).astype(np.int32)], 255)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA) / 255
