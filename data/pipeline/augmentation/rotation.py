"""Turning pixels about the middle of their rectangle, which keeps its size: image, segments and masks alike."""

import dataclasses

import cv2
import numpy as np

from data.pipeline.masks import Masks


@dataclasses.dataclass(frozen=True)
class Rotation:
    """A turn of a rectangle of `height` x `width` pixels by so many `degrees`, counterclockwise as it is seen."""

    height: int
    width: int
    degrees: float

    def of_image(self, image: np.ndarray, fill: tuple[int, int, int]) -> np.ndarray:
        """uint8[H, W, 3], bilinear; what lies outside of the image is `fill`."""
        middle = (self.width - 1) / 2, (self.height - 1) / 2
        forward = cv2.getRotationMatrix2D(middle, self.degrees, 1.0)
        return cv2.warpAffine(
            image, forward, (self.width, self.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )  # fmt: skip

    def of_segments(self, segments: np.ndarray, outside: int) -> np.ndarray:
        """[H, W] of the same type, by the nearest pixel; `outside` where there is none."""
        sources, inside = self._sources()
        return np.where(inside, segments.reshape(-1)[sources], segments.dtype.type(outside))

    def of_masks(self, masks: Masks) -> Masks:
        """Masks whose upper left part is the rectangle; outside of it they stay empty. Each is decoded on its own."""
        sources, inside = self._sources()

        def turned():
            for mask in masks:
                whole = np.zeros(masks.size, np.uint8)
                pixels = np.ascontiguousarray(mask[: self.height, : self.width]).reshape(-1)
                whole[: self.height, : self.width] = pixels[sources] & inside
                yield whole

        return Masks.encode(turned(), masks.size)

    def _sources(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat index of the pixel that each one shows, int32[H, W], and whether there is one, bool[H, W]."""
        cos, sin = np.cos(np.deg2rad(self.degrees)), np.sin(np.deg2rad(self.degrees))
        y, x = np.arange(self.height) - (self.height - 1) / 2, np.arange(self.width) - (self.width - 1) / 2
        columns = np.rint((cos * x)[None] - (sin * y)[:, None] + (self.width - 1) / 2).astype(np.int32)
        rows = np.rint((sin * x)[None] + (cos * y)[:, None] + (self.height - 1) / 2).astype(np.int32)
        inside = (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        return np.where(inside, rows * self.width + columns, 0), inside
