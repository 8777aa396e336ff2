"""The compiled programs of a tracker; their shapes are few, so that a video compiles them once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dataseg_jax.inference.promptable.frame import MULTIPLE
from dataseg_jax.networks.memory.bank import RECENT_POINTERS, Bank, Moment, insert, rows, with_prompted
from dataseg_jax.networks.primitives.resize import linear, resize_matrix, smooth_matrix
from dataseg_jax.networks.promptable.tracker import Asked, Tracked, Tracker
from dataseg_jax.networks.queries.prompts import MASK_SCALE
from dataseg_jax.networks.types import Features

OBJECTS = (1, 4, 16)  # ours: objects per program; more are padded to a multiple of the last.


class Programs:
    """The steps of a tracker with its parameters.

    Attributes:
      side: of the square that frames are scaled to.
      grid: cells per side of its features.
      cells: per side of mask logits.
    """

    def __init__(self, model: Tracker, params, side: int):
        self.side, self.grid = side, side // model.stride
        self.cells = MASK_SCALE * self.grid
        self.limit = model.prompt_encoder.feedback_limit
        self.params = jax.device_put(params)
        self._empty = model.empty_bank

        def of(method):
            return jax.jit(functools.partial(model.apply, method=method))

        self._encode, self._step, self._given = of("encode"), of("step"), of("given")
        self.put, self.rows, self.with_prompted = jax.jit(insert), jax.jit(rows), jax.jit(with_prompted)

    def empty_bank(self, objects: int, prompted: int = 0) -> Bank:
        """As numpy arrays."""
        return self._empty(objects, prompted, (self.grid, self.grid))

    def encode(self, square: np.ndarray) -> Features:
        """Features of a frame uint8[side, side, 3]."""
        return self._encode({"params": self.params}, square[None])

    def step(self, features: Features, bank: Bank, moment: Moment) -> tuple[Bank, Tracked]:
        """A frame without prompts."""
        return self._step({"params": self.params}, features, bank, moment)

    def ask(self, features: Features, bank: Bank, moment: Moment, asked: Asked) -> Tracked:
        """Prompts on a frame; the bank is read alone."""
        return self._step({"params": self.params}, features, bank, moment, asked)[1]

    def given(self, features: Features, mask: np.ndarray) -> Tracked:
        """A mask bool[H, W] of a frame as the answer of one object."""
        return self._given({"params": self.params}, features, to_square(mask, self.side)[None])

    def masks(self, logits: Float[Array, "o y x"], count: int, size: tuple[int, int], overlap: bool) -> np.ndarray:
        """Logits of `count` objects, and padding -> masks bool[count, H, W] of a frame of `size`."""
        up = (_upsampling(length, self.cells) for length in size)
        full = _masks(logits, *up, np.int32(count), overlap)
        return np.asarray(full)[:count, : size[0], : size[1]]


def moment(frame: int, sign: int, count: int | None) -> Moment:
    """Where a frame lies in a video of `count` frames; None: not known."""
    span = min(count or RECENT_POINTERS + 1, RECENT_POINTERS + 1) - 1
    return Moment(*(np.int32(x) for x in (frame, sign, max(span, 1))))


def to_square(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask bool[H, W] -> float32[side, side] of 0 and 1, as released: averaged, and cut at a half."""
    if mask.shape == (side, side):
        return mask.astype(np.float32)
    rows, columns = (smooth_matrix(side, length) for length in mask.shape)
    return (rows @ mask.astype(np.float32) @ columns.T >= 0.5).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _upsampling(size: int, cells: int) -> np.ndarray:
    """float32 [n, cells]; n is `size` rounded up, so that frames of similar sizes share a program."""
    return np.pad(resize_matrix(size, cells, linear), ((0, -size % MULTIPLE), (0, 0)))


@functools.partial(jax.jit, static_argnames="overlap")
def _masks(logits, rows, columns, count, overlap: bool) -> Bool[Array, "o h w"]:
    """Without `overlap` a pixel is of the object with the highest logit."""
    wide = jnp.einsum("oyx,wx->oyw", logits, columns, precision="highest")
    full = jnp.einsum("hy,oyw->ohw", rows, wide, precision="highest")
    if overlap:
        return full > 0
    each = jnp.arange(len(full))[:, None, None]
    return (full > 0) & (each == jnp.where(each < count, full, -jnp.inf).argmax(0))
