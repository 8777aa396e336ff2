"""Rotary positions on a grid: channels turn in pairs, half of them by x and half by y (SAM 2, as released)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

THETA = 10_000.0


def rotations(height: int, width: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines of the angles of every cell, float32 [height * width, channels / 2] each.

    The first half of the angles is of x, the second of y; `channels` must be a multiple of 4.
    """
    frequency = THETA ** -(np.arange(0, channels // 2, 2, dtype=np.float64) / (channels // 2))
    y, x = (axis.reshape(-1, 1) * frequency for axis in np.mgrid[:height, :width])
    angle = np.concatenate([x, y], -1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rotate(
    x: Float[Array, "*b s c"], cosine: Float[Array, "s c/2"], sine: Float[Array, "s c/2"]
) -> Float[Array, "*b s c"]:
    """Turns the channel pairs (0, 1), (2, 3), ... of every token by its angles, in float32."""
    first, second = jnp.moveaxis(x.astype(jnp.float32).reshape(*x.shape[:-1], -1, 2), -1, 0)
    turned = jnp.stack([first * cosine - second * sine, first * sine + second * cosine], -1)
    return turned.reshape(x.shape).astype(x.dtype)
