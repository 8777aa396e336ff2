"""Boxes of queries: their forms, their sine code, and the head that refines them from layer to layer (Mask DINO).

In the network a box is (centre x, centre y, width, height) as fractions of the padded input.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.networks.primitives.layers import MLP

EPSILON = 1e-5  # Distance from 0 and 1 that coordinates are kept at, where their logit is taken.


def to_corners(boxes: Float[Array, "*a 4"]) -> Float[Array, "*a 4"]:
    """Centre and size -> x0 y0 x1 y1."""
    centre, size = jnp.split(boxes, 2, -1)
    return jnp.concatenate([centre - size / 2, centre + size / 2], -1)


def to_centres(boxes: Float[Array, "*a 4"]) -> Float[Array, "*a 4"]:
    """x0 y0 x1 y1 -> centre and size."""
    low, high = jnp.split(boxes, 2, -1)
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def logit(boxes: Float[Array, "*a"]) -> Float[Array, "*a"]:
    """The inverse of the sigmoid, finite at 0 and 1."""
    boxes = jnp.clip(boxes.astype(jnp.float32), 0, 1)
    return jnp.log(jnp.maximum(boxes, EPSILON) / jnp.maximum(1 - boxes, EPSILON))


def giou(a: Float[Array, "*a 4"], b: Float[Array, "*a 4"]) -> Float[Array, "*a"]:
    """Generalised IoU of boxes given by their corners, in [-1, 1]; leading axes broadcast."""
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])
    common = _area(low, high)
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - common
    hull = _area(jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:]))
    return common / jnp.maximum(union, 1e-9) - (hull - union) / jnp.maximum(hull, 1e-9)


def _area(low, high):
    return jnp.prod(jnp.maximum(high - low, 0), -1)


def sine_code(boxes: Float[Array, "*a 4"], channels: int) -> Float[Array, "*a c"]:
    """The sine code of y, x, width and height, `channels` / 2 each, T = 1e4, 2 pi per side (DAB-DETR)."""
    half = channels // 2
    frequency = 1e4 ** (2 * (jnp.arange(half) // 2) / half)
    x, y, sides = jnp.split(boxes, (1, 2), -1)
    angle = 2 * jnp.pi * jnp.concatenate([y, x, sides], -1)[..., None] / frequency
    code = jnp.stack([jnp.sin(angle[..., 0::2]), jnp.cos(angle[..., 1::2])], -1)
    return code.reshape(*boxes.shape[:-1], 4 * half)


class BoxHead(nn.Module):
    """Changes of boxes in logits, one head for all layers; zero at initialisation, so that boxes start as anchors."""

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*a c"], boxes: Float[Array, "*a 4"]) -> Float[Array, "*a 4"]:
        """The boxes after a step from `boxes`, by queries or tokens `x`; float32."""
        change = MLP(self.width, 4, dtype=self.dtype, out_scale=0.0, name="mlp")(x)
        return jax.nn.sigmoid(change.astype(jnp.float32) + logit(boxes))


class BoxPositions(nn.Module):
    """The position code of queries from their boxes: an MLP of the sine code (DAB-DETR)."""

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, boxes: Float[Array, "*a 4"]) -> Float[Array, "*a c"]:
        code = sine_code(boxes, self.width).astype(self.dtype)
        return MLP(self.width, self.width, depth=2, dtype=self.dtype, name="mlp")(code)
