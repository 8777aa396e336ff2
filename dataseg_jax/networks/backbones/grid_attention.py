"""Attention over a grid with MViTv2's decomposed relative positions, and the resizing of position tables."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.networks.layers import product
from dataseg_jax.networks.resize import cubic, linear, resize_matrix

# ours: attention scores per head and image in memory at once; 512 of the 4096 queries of a 1024 x 1024 image.
SCORES_AT_ONCE = 2**21
# ours: scores in memory at once on a CPU, of all heads and images: 2 MiB, which stay in its cache. The global attention
# of a 1024 x 1024 image then takes a fifth of the time.
SCORES_IN_CACHE = 2**19
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


def attend_in_chunks(
    q, k, v, by_row=None, by_column=None, at_once: int = SCORES_AT_ONCE, in_cache: int = SCORES_IN_CACHE
):
    """`attend`, a part of the scores at a time: of all heads and images `at_once` scores each, on a CPU `in_cache` of
    all together.

    The backward pass computes each part's scores again: those of a ViTDet-L would fill a large accelerator.
    """
    given = (q, k, v) if by_row is None else (q, k, v, by_row, by_column)
    by_queries = functools.partial(_by_queries, at_once=at_once)
    return jax.lax.platform_dependent(*given, cpu=functools.partial(_by_heads, in_cache=in_cache), default=by_queries)


def _by_queries(q, k, v, *relative, at_once: int):
    """A chunk of queries after the other, of all heads and images."""
    queries, keys = q.shape[1], k.shape[1]
    chunks = -(-queries * keys // at_once)
    if chunks == 1:
        return attend(q, k, v, *relative)
    size = -(-queries // chunks)

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
        return jnp.moveaxis(x.reshape(len(x), chunks, size, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def chunk(parts):
        return attend(parts[0], k, v, *parts[1:])

    out = jax.lax.map(chunk, tuple(split(x) for x in (q, *relative)))
    return jnp.moveaxis(out, 0, 1).reshape(len(q), chunks * size, *q.shape[2:])[:, :queries]


def _by_heads(q, k, v, *relative, in_cache: int):
    """A few heads of an image after the other, or a chunk of the queries of one head."""
    b, queries, n, _ = q.shape
    heads, per_head = b * n, queries * k.shape[1]
    if heads * per_head <= in_cache:
        return attend(q, k, v, *relative)
    by_head = [x.swapaxes(1, 2).reshape(heads, x.shape[1], -1) for x in (q, k, v, *relative)]
    loops = -(-heads // max(in_cache // per_head, 1))  # Equal groups, of which the last may be padded.
    group = -(-heads // loops)
    chunks = -(-per_head // in_cache) if group == 1 else 1
    size = -(-queries // chunks)

    @jax.checkpoint
    def attend_chunk(q, k, v, *relative):
        """[g, s, c] of g heads. As `attend`, but what is divided by the sum of the weights is the result."""
        scores = product("gqc,gkc->gqk", q, k) * q.shape[-1] ** -0.5
        if relative:
            scores += (relative[0][..., :, None] + relative[1][..., None, :]).reshape(scores.shape)
        weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
        out = product("gqk,gkc->gqc", weights.astype(v.dtype), v) / weights.sum(-1, keepdims=True)
        return out.astype(v.dtype)

    def split(x):  # [g, Q, c] -> [chunks, g, s, c].
        x = jnp.pad(x, ((0, 0), (0, chunks * size - queries), (0, 0)))
        return x.reshape(group, chunks, size, -1).swapaxes(0, 1)

    def one(parts):
        q, k, v, *relative = parts
        if chunks == 1:
            return attend_chunk(*parts)
        out = jax.lax.map(lambda part: attend_chunk(part[0], k, v, *part[1:]), tuple(map(split, (q, *relative))))
        return out.swapaxes(0, 1).reshape(group, chunks * size, -1)[:, :queries]

    padded = (jnp.pad(x, ((0, loops * group - heads), (0, 0), (0, 0))) for x in by_head)
    out = jax.lax.map(one, tuple(x.reshape(loops, group, *x.shape[1:]) for x in padded))
    return out.reshape(loops * group, queries, -1)[:heads].reshape(b, n, queries, -1).swapaxes(1, 2)


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
