"""Changes of colour as torchvision makes them, for clips: all frames alike, or each by itself."""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np


class Jitter(NamedTuple):
    """Ranges of the three factors: each is uniform in 1 - range to 1 + range."""

    brightness: float
    contrast: float
    saturation: float


@dataclasses.dataclass(frozen=True)
class Colours:
    """Factors of brightness, contrast and saturation, and the order in which they are applied."""

    factors: tuple[float, float, float]
    order: tuple[int, int, int]

    @classmethod
    def draw(cls, jitter: Jitter, rng: np.random.Generator) -> "Colours":
        """Draws the factors, and any order."""
        factors = 1 + np.array(jitter) * (2 * rng.random(3) - 1)
        return cls(tuple(factors.tolist()), tuple(rng.permutation(3).tolist()))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """uint8[H, W, 3] RGB; each change is a blend with black, with the mean gray, or with the gray image."""
        for place in self.order:
            if self.factors[place] != 1:
                image = _CHANGES[place](image, self.factors[place])
        return image


def gray(image: np.ndarray) -> np.ndarray:
    """uint8[H, W, 3] without colour."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return _look_up(image, factor * np.arange(256))


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _look_up(image, mean + factor * (np.arange(256) - mean))


def _saturation(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.addWeighted(image, factor, gray(image), 1 - factor, 0)


def _look_up(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(np.rint(values), 0, 255).astype(np.uint8))


_CHANGES = (_brightness, _contrast, _saturation)
