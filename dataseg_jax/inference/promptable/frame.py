"""Where an image lies in the model's square, and how masks come back from there: the originals' steps, to the pixel."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from PIL import Image

from dataseg_jax.networks.primitives.resize import linear, resize_matrix

# ours: masks are made at sizes rounded up to this, so that images of similar sizes share a program.
MULTIPLE = 256
MASK_LOGIT = np.float32(10)  # ours: of a given mask's inside; SAM 2's code has them so: 20 x mask - 10.


@dataclasses.dataclass(frozen=True)
class Frame:
    """An image in the model's square, at its top left.

    Attributes:
      size: height and width of the image.
      fitted: the same inside the square.
      side: of the square.
      directly: masks are resized once, to the image, and not by way of the square.
    """

    size: tuple[int, int]
    fitted: tuple[int, int]
    side: int
    directly: bool = False

    def to_square(self, xy: np.ndarray) -> np.ndarray:
        """Positions [..., 2] in pixels of the image, x and y -> float32 in pixels of the square."""
        scale = [self.fitted[axis] / self.size[axis] for axis in (1, 0)]
        return (np.asarray(xy, np.float64) * scale).astype(np.float32)

    def to_cells(self, masks: np.ndarray, cells: int) -> np.ndarray:
        """Masks bool[P, H, W] of the image -> logits float32[P, cells, cells] on the square, for a prompt."""
        found = np.zeros((len(masks), self.side, self.side), np.float32)
        for mask, square in zip(masks, found, strict=True):
            shares = Image.fromarray(mask.astype(np.float32)).resize(self.fitted[::-1], Image.Resampling.BOX)
            square[: self.fitted[0], : self.fitted[1]] = np.asarray(shares)
        shape = len(masks), cells, self.side // cells, cells, self.side // cells
        return MASK_LOGIT * (2 * found.reshape(shape).mean((2, 4)) - 1)

    def upsampling(self, axis: int, cells: int) -> np.ndarray:
        """float32 [n, cells]: rows (axis 0) or columns (1) of the image from those of a mask on the square.

        n is `size` rounded up to `MULTIPLE`; what is beyond the image is 0.
        """
        return _upsampling(self.size[axis], self.fitted[axis], self.side, cells, self.directly)


@functools.lru_cache(maxsize=8)
def _upsampling(size: int, fitted: int, side: int, cells: int, directly: bool) -> np.ndarray:
    """SAM resizes masks twice, to the square, cropped to what is no padding, and to the image. Both are linear along
    each axis, so that one matrix does both."""
    if directly:
        matrix = resize_matrix(size, cells, linear)
    else:
        to_square = resize_matrix(side, cells, linear)[:fitted].astype(np.float64)
        matrix = resize_matrix(size, fitted, linear) @ to_square
    return np.pad(matrix, ((0, -size % MULTIPLE), (0, 0))).astype(np.float32)


def fit(image: np.ndarray, side: int, fill: Sequence[int] = (0, 0, 0)) -> tuple[np.ndarray, Frame]:
    """Scales an image uint8[H, W, 3] so that its longer side is `side`, with Pillow's bilinear filter, and pads it
    below and to the right with `fill` to uint8[side, side, 3]. SAM pads again, after it has normalised the pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    fitted = tuple(max(int(length * scale + 0.5), 1) for length in (height, width))
    square = np.full((side, side, 3), fill, np.uint8)
    pixels = Image.fromarray(np.ascontiguousarray(image)).resize(fitted[::-1], Image.Resampling.BILINEAR)
    square[: fitted[0], : fitted[1]] = np.asarray(pixels)
    return square, Frame((height, width), fitted, side)


def stretch(image: np.ndarray, side: int, fill: Sequence[int] = ()) -> tuple[np.ndarray, Frame]:
    """Scales an image uint8[H, W, 3] to uint8[side, side, 3], with Pillow's bilinear filter; its aspect is lost, and
    there is nothing to fill.

    The original resizes pixels that are no whole numbers any more: it differs by rounding, at most one level.
    """
    square = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.BILINEAR)
    return np.array(square), Frame(image.shape[:2], (side, side), side, directly=True)


FRAMINGS = {"longest_side": fit, "square": stretch}  # Of `ModelSpec.framing`.


@jax.jit
def upscaled(
    logits: Float[Array, "k y x"], rows: Float[Array, "h y"], columns: Float[Array, "w x"]
) -> Float[Array, "k h w"]:
    """Mask logits on the square -> on the image."""
    wide = jnp.einsum("kyx,wx->kyw", logits, columns, precision="highest")
    return jnp.einsum("hy,kyw->khw", rows, wide, precision="highest")


@jax.jit
def upsampled(
    logits: Float[Array, "k y x"], rows: Float[Array, "h y"], columns: Float[Array, "w x"]
) -> Bool[Array, "k h w"]:
    """Mask logits of one prompt on the square -> its masks of the image, where they are above 0."""
    return upscaled(logits, rows, columns) > 0
