"""Deformable cross-attention, exact and without a gather (Deformable DETR), and Mask DINO's decoder layer with it.

Bilinear sampling at a point is a sum over the map with weights tent(y - y_p) tent(x - x_p). Summed over a query's
points that is a map of weights, so that a level's contribution is one matrix product. Its gradient is one too, where
that of a gather is a scatter: slow on accelerators under contention, and its order of additions is not fixed. The map
has as many numbers as dense attention's, so this form is for the few queries of a decoder, not for the tokens of an
encoder.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.primitives.layers import Attention, FeedForward, layer_norm, xavier


class DeformableAttention(nn.Module):
    """Each head of a query reads `points` places of every level, around the query's box.

    A place lies at the box's centre + offset / points x half of the box's size.
    """

    width: int
    heads: int
    points: int = 4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, query: Float[Array, "b n c"], boxes: Float[Array, "b n 4"], memory: Sequence[Float[Array, "b _h _w c"]]
    ) -> Float[Array, "b n c"]:
        """Queries, their boxes (centre and size, fractions) and the maps of all levels -> what the queries read."""
        shape = self.heads, len(memory), self.points
        head = *query.shape[:2], *shape
        zeros = nn.initializers.zeros
        offsets = nn.Dense(2 * np.prod(shape), kernel_init=zeros, bias_init=_rays(*shape), name="offsets")
        offsets = offsets(query.astype(jnp.float32)).reshape(*head, 2)
        weights = nn.Dense(np.prod(shape), kernel_init=zeros, name="weights")(query.astype(jnp.float32))
        weights = jax.nn.softmax(weights.reshape(*head[:3], -1)).reshape(head)
        centre, size = boxes[:, :, None, None, None, :2], boxes[:, :, None, None, None, 2:]
        places = centre + offsets / self.points * size / 2
        value = nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="value")
        read = 0.0
        for level, values in enumerate(memory):
            h, w = values.shape[1:3]
            values = value(values).reshape(-1, h, w, self.heads, self.width // self.heads)
            rows, columns = _tents(places[..., level, :, 1], h), _tents(places[..., level, :, 0], w)
            attention = jnp.einsum("bnkp,bnkpy,bnkpx->bnkyx", weights[..., level, :], rows, columns)
            read += jnp.einsum("bnkyx,byxkd->bnkd", attention.astype(self.dtype), values)
        out = nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="out")
        return out(read.reshape(*query.shape[:2], self.width))


def _tents(place: Float[Array, "*a"], cells: int) -> Float[Array, "*a c"]:
    """Weights of bilinear interpolation of each cell of an axis at a place in fractions; nothing lies outside."""
    return jnp.maximum(1 - jnp.abs(place[..., None] * cells - 0.5 - jnp.arange(cells)), 0)


def _rays(heads: int, levels: int, points: int):
    """The offsets to start with: every head looks in a direction of its own, its points lie 1, 2, ... away."""

    def init(key, shape, dtype=jnp.float32):
        angle = 2 * np.pi * np.arange(heads) / heads
        ray = np.stack([np.cos(angle), np.sin(angle)], -1)
        ray = (ray / np.abs(ray).max(-1, keepdims=True))[:, None, None] * np.arange(1, points + 1)[:, None]
        return jnp.asarray(np.broadcast_to(ray, (heads, levels, points, 2)).reshape(shape), dtype)

    return init


class DeformableLayer(nn.Module):
    """Self-attention, deformable cross-attention to all levels, feed-forward; post-norm (Mask DINO)."""

    heads: int
    ffn: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b n c"],
        query_positions: Float[Array, "b n c"],
        boxes: Float[Array, "b n 4"],
        memory: Sequence[Float[Array, "b _h _w c"]],
        visible: Bool[Array, "b n n"] | None = None,
    ) -> Float[Array, "b n c"]:
        """`visible` is True where a query may attend to another."""
        width, x = queries.shape[-1], queries
        q = x + query_positions
        y = Attention(width, self.heads, self.dtype, name="self")(q, q, x, visible)
        x = layer_norm("self_norm", self.dtype)(x + y)
        cross = DeformableAttention(width, self.heads, dtype=self.dtype, name="cross")
        x = layer_norm("cross_norm", self.dtype)(x + cross(x + query_positions, boxes, memory))
        return layer_norm("ffn_norm", self.dtype)(x + FeedForward(self.ffn, self.dtype, name="ffn")(x))
