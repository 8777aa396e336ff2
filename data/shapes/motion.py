"""The shapes world in motion: videos of its things, and the things that every frame shows.

Things turn, grow and shrink, bounce off the edge of the image or leave through it and come back, and pass before each
other in a fixed order of depth. The ground and its light stand still. Video i depends on (seed, layout, split, i) and
on the constants of the world only.
"""

import dataclasses

import cv2
import numpy as np

from data.shapes.world import SPLITS, THINGS, World, blend, coverage, draw_ground, draw_outline, draw_surface, finish

STREAMS = {"davis": 10, "sa_v": 11}  # Of random numbers, behind those of `world` and `layouts`.
FRAMES = 33  # Of a video: SA-V annotates every fourth, which gives nine.


@dataclasses.dataclass(frozen=True, eq=False)
class Moving:
    """One video.

    Attributes:
      images: uint8[T, H, W, 3], RGB.
      names: the class of each thing, from the lowest to the topmost.
      shown: int32[T, H, W], which thing each pixel shows (at least half of it), -1 = the ground.
    """

    images: np.ndarray
    names: tuple[str, ...]
    shown: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Thing:
    """A thing and its way: `corners` float[n, 2] about its centre; `poses` float[T, 4]: x, y, scale, turn (radians)."""

    name: str
    corners: np.ndarray
    poses: np.ndarray


def draw_video(world: World, layout: str, split: str, index: int, frames: int = FRAMES) -> Moving:
    """Draws video `index` of a layout's split."""
    rng = np.random.default_rng([world.seed, STREAMS[layout], SPLITS.index(split), index])
    ground, _, _ = draw_ground(world, rng)
    count = int(rng.integers(2, max(3, world.things[1]) + 1))
    leaver = int(rng.integers(count))  # At least one thing leaves, and one stays.
    things, surfaces, start = [], [], ground
    for number in range(count):
        leaves = number == leaver or (rng.random() < 0.25 and number != (leaver + 1) % count)
        thing = _thing(world, rng, frames, leaves)
        covered = coverage(_outline(thing, 0), world.size)
        pixels, _ = draw_surface(thing.name, covered, start, world, rng)
        start = blend(start, covered, pixels)
        things.append(thing)
        surfaces.append(pixels)
    light = int(rng.integers(2**32))
    images, shown = [], np.full((frames, world.size, world.size), -1, np.int32)
    for t in range(frames):
        image = ground
        for number, (thing, pixels) in enumerate(zip(things, surfaces, strict=True)):
            covered = coverage(_outline(thing, t), world.size)
            image = blend(image, covered, _carried(pixels, thing, t))
            shown[t][covered >= 0.5] = number
        # The same specks and light in every frame, and noise of its own.
        lit = finish(image, dataclasses.replace(world, noise=0.0), np.random.default_rng(light))
        noise = 255 * world.noise * rng.standard_normal(lit.shape, dtype=np.float32)
        images.append(np.clip(np.round(lit + noise), 0, 255).astype(np.uint8))
    return Moving(np.stack(images), tuple(thing.name for thing in things), shown)


def _thing(world: World, rng: np.random.Generator, frames: int, leaves: bool) -> _Thing:
    name = str(rng.choice(THINGS))
    corners = draw_outline(name, world, rng)
    centre = corners.mean(0)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0.015, 0.045)  # Of the side, in a frame.
    time = np.arange(frames)[:, None]
    if leaves:
        # Out through the nearest edge and back again, beyond the edge by more than its radius.
        away = 1.6 * np.array([np.sign(centre[0] - 0.5), 0] if rng.random() < 0.5 else [0, np.sign(centre[1] - 0.5)])
        period = frames * rng.uniform(0.7, 1.0)
        places = centre + away * np.sin(np.pi * np.minimum(time / period, 1)) ** 2
    else:
        places = _reflected(centre + time * speed * np.array([np.cos(angle), np.sin(angle)]))
    phase, rate = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3)
    scale = 1 + rng.uniform(0, 0.3) * (np.sin(rate * time + phase) - np.sin(phase))
    turn = rng.uniform(-0.12, 0.12) * time
    return _Thing(name, corners - centre, np.concatenate([places, scale, turn], axis=1))


def _reflected(places: np.ndarray, low: float = 0.12, high: float = 0.88) -> np.ndarray:
    """Places that bounce between two walls instead of passing through them."""
    span = high - low
    along = np.mod(places - low, 2 * span)
    return low + np.where(along > span, 2 * span - along, along)


def _map(thing: _Thing, t: int) -> np.ndarray:
    """float[2, 3]: from places about the centre of a thing to places in frame t, both as shares of the side."""
    x, y, scale, turn = thing.poses[t]
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[c, -s, x], [s, c, y]])


def _outline(thing: _Thing, t: int) -> np.ndarray:
    move = _map(thing, t)
    return thing.corners @ move[:, :2].T + move[:, 2]


def _carried(pixels: np.ndarray, thing: _Thing, t: int) -> np.ndarray:
    """The surface of a thing, drawn where it is in frame 0, as it is in frame t."""
    size = pixels.shape[0]
    first, now = (np.vstack([_map(thing, at), [0, 0, 1]]) for at in (0, t))
    shares = np.array([[1 / size, 0, 0.5 / size], [0, 1 / size, 0.5 / size], [0, 0, 1]])  # Of the centre of a pixel.
    move = np.linalg.inv(shares) @ now @ np.linalg.inv(first) @ shares
    return cv2.warpAffine(pixels.astype(np.float32), move[:2], (size, size), borderMode=cv2.BORDER_REFLECT_101)
