"""Brightness patterns of the shapes world: each function returns a tone field, float32[size, size] in about -1..1."""

import cv2
import numpy as np

_SUB = 4  # fractional bits of the drawing coordinates


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as shares of the side: two float32[size, size] arrays, x to the right and y down."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.broadcast_to(centres, (size, size)), np.broadcast_to(centres[:, None], (size, size))


def smooth_field(size: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Slowly varying random values in 0..1, float32[size, size], with about `cells` bumps along a side."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def line_coverage(size: int, segments: np.ndarray, thickness: int = 1) -> np.ndarray:
    """Anti-aliased coverage in 0..1 of straight segments float[n, 2, 2] given as (x, y) shares of the side."""
    canvas = np.zeros((size, size), np.uint8)
    points = np.round((segments * size - 0.5) * (1 << _SUB)).astype(np.int32)
    cv2.polylines(canvas, list(points), False, 255, thickness, cv2.LINE_AA, _SUB)
    return canvas.astype(np.float32) / 255


def grass(size: int, rng: np.random.Generator) -> np.ndarray:
    """Short strokes, dark and light, around one leaning direction."""
    lean = rng.uniform(0.3, 0.7) * np.pi
    strokes = []
    for count in (70, 70):
        start = rng.random((count, 2))
        angle = lean + rng.normal(0, 0.3, count)
        step = np.stack([np.cos(angle), np.sin(angle)], -1) * rng.uniform(0.06, 0.12, (count, 1))
        strokes.append(line_coverage(size, np.stack([start, start + step], 1)))
    return strokes[0] - strokes[1]


def sea(size: int, rng: np.random.Generator) -> np.ndarray:
    """Long parallel waves with narrow bright crests."""
    x, y = grid(size)
    angle = rng.uniform(0, np.pi)
    across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bend = rng.uniform(0.01, 0.025) * np.sin(2 * np.pi * (rng.uniform(1, 2) * along + rng.random()))
    wave = np.sin(2 * np.pi * ((across + bend) / rng.uniform(0.09, 0.13) + rng.random()))
    return np.where(wave > 0, wave**2, 0.5 * wave).astype(np.float32)


def pond(size: int, centre: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Calm water: faint rings around `centre`, which die out away from it."""
    x, y = grid(size)
    distance = np.hypot(x - centre[0], y - centre[1])
    rings = np.sin(2 * np.pi * (distance / rng.uniform(0.08, 0.11) + rng.random()))
    return (0.6 * rings * np.exp(-((distance / 0.3) ** 2)) - 0.2).astype(np.float32)


def sand(size: int, rng: np.random.Generator) -> np.ndarray:
    """Speckle: sparse dark and light grains on fine roughness."""
    grains = rng.random((size, size), dtype=np.float32)
    return np.where(grains < 0.12, -1, np.where(grains > 0.88, 1, 0.6 * (grains - 0.5))).astype(np.float32)


def pattern(size: int, rng: np.random.Generator) -> np.ndarray:
    """The surface of a thing: plain, stripes, checks or dots at a random angle; never a hint of the class."""
    kind = rng.integers(4)
    if kind == 0:
        return np.zeros((size, size), np.float32)
    x, y = grid(size)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.07, 0.12)
    u = np.sin(2 * np.pi * ((x * np.cos(angle) + y * np.sin(angle)) / period + rng.random()))
    if kind == 1:
        return np.clip(3 * u, -1, 1)
    v = np.sin(2 * np.pi * ((y * np.cos(angle) - x * np.sin(angle)) / period + rng.random()))
    return np.clip(3 * u * v, -1, 1) if kind == 2 else np.clip(4 * (u + v) - 3, -1, 1)
