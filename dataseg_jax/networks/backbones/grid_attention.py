"""Attention over a grid with MViTv2's decomposed relative positions, and the resizing of position tables."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.networks.primitives.attention import attend_in_chunks
from dataseg_jax.networks.primitives.products import Dense, product
from dataseg_jax.networks.primitives.resize import cubic, linear, resize_matrix

small_normal = nn.initializers.truncated_normal(0.02)


def resize_positions(positions: Float[Array, "g g c"], height: int, width: int) -> Float[Array, "h w c"]:
    """Absolute positions at another grid, bicubic."""
    rows, columns = (resize_matrix(new, old, cubic) for new, old in zip((height, width), positions.shape, strict=False))
    return jnp.einsum("yi,xj,ijc->yxc", rows, columns, positions, precision="highest")


def relative_positions(table: Float[Array, "2*s-1 c"], size: int) -> Float[Array, "n n c"]:
    """The row of the table for every (query, key) of an axis of `size`; a table of another size is resized."""
    if len(table) != 2 * size - 1:
        table = jnp.matmul(resize_matrix(2 * size - 1, len(table), linear), table, precision="highest")
    # Row i of the answer is the reversed table from place size - 1 - i on. Laid end to end with a gap of one, copies of
    # it shift by a place from row to row: no gather, whose gradient is a scatter.
    copies = jnp.tile(jnp.pad(table[::-1], ((0, 1), (0, 0))), (size, 1))
    return copies[: size * (2 * size - 1)].reshape(size, 2 * size - 1, -1)[:, size - 1 :]


class GridAttention(nn.Module):
    """Every token of a grid attends to all of it; the tables of relative positions fit the grid at `init`."""

    heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, h, w, C] -> [B, h, w, C]."""
        b, h, w, width = x.shape
        qkv = Dense(3 * width, dtype=self.dtype, kernel_init=small_normal, name="qkv")(x)
        # Slices of the last axis: what reads them needs no copy. An axis of three would be transposed in memory.
        q, k, v = (part.reshape(b, h, w, self.heads, -1) for part in jnp.split(qkv, 3, -1))
        rows, columns = (self._relative(*axis, q.shape[-1]) for axis in (("rel_pos_h", h), ("rel_pos_w", w)))
        by_row = product("bhwnc,hkc->bhwnk", q, rows)
        by_column = product("bhwnc,wkc->bhwnk", q, columns)
        q, k, v, *relative = (part.reshape(b, h * w, self.heads, -1) for part in (q, k, v, by_row, by_column))
        x = attend_in_chunks(q, k, v, tuple(relative)).reshape(b, h, w, width)
        return Dense(width, dtype=self.dtype, kernel_init=small_normal, name="proj")(x)

    def _relative(self, name, size, channels):
        if self.has_variable("params", name):  # Images of another size than at `init`: the table keeps its size.
            rows = len(self.get_variable("params", name))
        else:
            rows = 2 * size - 1
        table = self.param(name, nn.initializers.zeros, (rows, channels))
        return relative_positions(table, size).astype(self.dtype)
