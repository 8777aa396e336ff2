"""Attention over a grid with MViTv2's decomposed relative positions, and the resizing of position tables."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.networks.layers import product
from dataseg_jax.networks.resize import cubic, linear, resize_matrix

# ours: attention scores per head and image in memory at once; 512 of the 4096 queries of a 1024 x 1024 image.
SCORES_AT_ONCE = 2**21
small_normal = nn.initializers.truncated_normal(0.02)


def resize_positions(positions: Float[Array, "g g c"], height: int, width: int) -> Float[Array, "h w c"]:
    """Absolute positions at another grid, bicubic."""
    rows, columns = (resize_matrix(new, old, cubic) for new, old in zip((height, width), positions.shape, strict=False))
    return jnp.einsum("yi,xj,ijc->yxc", rows, columns, positions, precision="highest")


def relative_positions(table: Float[Array, "2*s-1 c"], size: int) -> Float[Array, "n n c"]:
    """The row of the table for every (query, key) of an axis of `size`; a table of another size is resized."""
    if len(table) != 2 * size - 1:
        table = jnp.matmul(resize_matrix(2 * size - 1, len(table), linear), table, precision="highest")
    return table[np.arange(size)[:, None] - np.arange(size) + size - 1]


def attend(q, k, v, by_row=None, by_column=None):
    """Attention with decomposed relative positions, one key grid of h rows and w columns; softmax in float32.

    Args:
      q: [B, Q, n, c]; k, v: [B, h * w, n, c], of n heads.
      by_row, by_column: float32 [B, Q, n, h] and [B, Q, n, w], added to a query's scores by the key's row and column;
        None: there are no relative positions.

    Returns:
      [B, Q, n, c].
    """
    scores = product("bqnc,bknc->bqnk", q, k) * q.shape[-1] ** -0.5
    if by_row is not None:
        scores += (by_row[..., :, None] + by_column[..., None, :]).reshape(scores.shape)
    weights = jax.nn.softmax(scores)
    return jnp.einsum("bqnk,bknc->bqnc", weights.astype(v.dtype), v)


def attend_in_chunks(q, k, v, by_row=None, by_column=None, at_once: int = SCORES_AT_ONCE):
    """`attend`, one chunk of queries at a time, so that at most about `at_once` scores per head are in memory.

    The backward pass computes each chunk's scores again: those of a ViTDet-L would fill a large accelerator.
    """
    queries, keys = q.shape[1], k.shape[1]
    chunks = -(-queries * keys // at_once)
    if chunks == 1:
        return attend(q, k, v, by_row, by_column)
    relative = () if by_row is None else (by_row, by_column)
    size = -(-queries // chunks)

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
        return jnp.moveaxis(x.reshape(len(x), chunks, size, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def chunk(parts):
        return attend(parts[0], k, v, *parts[1:])

    out = jax.lax.map(chunk, tuple(split(x) for x in (q, *relative)))
    return jnp.moveaxis(out, 0, 1).reshape(len(q), chunks * size, *q.shape[2:])[:, :queries]


class GridAttention(nn.Module):
    """Every token of a grid attends to all of it; the tables of relative positions fit the grid at `init`."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, h, w, C] -> [B, h, w, C]."""
        b, h, w, width = x.shape
        qkv = nn.Dense(3 * width, dtype=self.dtype, kernel_init=small_normal, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(b, h, w, 3, self.heads, -1), 3, 0)
        rows, columns = (self._relative(*axis, q.shape[-1]) for axis in (("rel_pos_h", h), ("rel_pos_w", w)))
        by_row = product("bhwnc,hkc->bhwnk", q, rows)
        by_column = product("bhwnc,wkc->bhwnk", q, columns)
        flat = (part.reshape(b, h * w, self.heads, -1) for part in (q, k, v, by_row, by_column))
        x = attend_in_chunks(*flat).reshape(b, h, w, width)
        return nn.Dense(width, dtype=self.dtype, kernel_init=small_normal, name="proj")(x)

    def _relative(self, name, size, channels):
        if self.has_variable("params", name):  # Images of another size than at `init`: the table keeps its size.
            rows = len(self.get_variable("params", name))
        else:
            rows = 2 * size - 1
        table = self.param(name, nn.initializers.zeros, (rows, channels))
        return relative_positions(table, size).astype(self.dtype)
