"""Multi-head attention, in the form that suits where it runs.

On CUDA a kernel of cuDNN, where it takes the shapes and types: no scores are written to memory. Relative positions are
folded into its queries and keys, since a bias would be as large as the scores; a mask is one for all heads. Elsewhere
products and a softmax in float32; `attend_in_chunks` holds a part of the scores at a time, in parts that suit an
accelerator or a CPU's cache.

Everywhere [..., Q, n, c] are Q queries of n heads with c channels, and [..., S, n, c] are S keys or values.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.primitives.products import product
from dataseg_jax.networks.primitives.remat import worth_keeping

# ours: attention scores per head and image in memory at once; 512 of the 4096 queries of a 1024 x 1024 image.
SCORES_AT_ONCE = 2**21
# ours: scores in memory at once on a CPU, of all heads and images: 2 MiB, which stay in its cache. The global attention
# of a 1024 x 1024 image then takes a fifth of the time.
SCORES_IN_CACHE = 2**19
_WIDEST_HEAD = contextvars.ContextVar("widest head", default=None)  # Of the kernel; None: as the devices have it.
_MULTIPLE = 8  # Of a head's channels, for the kernel.

Relative = tuple[Float[Array, "b q n h"], Float[Array, "b q n w"]] | tuple[()]


@contextlib.contextmanager
def kernel_up_to(channels: int) -> Iterator[None]:
    """What is traced inside takes cuDNN's kernel for heads of up to so many channels, whatever the devices here are.

    0: it has no such kernel, as programs that are written to files should not.
    """
    token = _WIDEST_HEAD.set(channels)
    try:
        yield
    finally:
        _WIDEST_HEAD.reset(token)


def attend(
    q: Float[Array, "*a q n c"],
    k: Float[Array, "*b s n c"],
    v: Float[Array, "*b s n d"],
    mask: Bool[Array, "*m"] | None = None,
    bias: Float[Array, "*m"] | None = None,
) -> Float[Array, "*a q n d"]:
    """Softmax attention; leading axes broadcast.

    With a bias or more leading axes than one all scores exist at once, with a mask where cuDNN's kernel is not taken.

    Args:
      mask, bias: broadcast to [..., n, Q, S]. A query attends to keys where `mask` is True, or to all where there is no
        such key. `bias` is added to the scores.
    """
    if bias is None and q.ndim == k.ndim == 4:
        if mask is None:
            return attend_in_chunks(q, k, v)
        if mask.ndim == 4 and kernel_takes(q, k, v):
            masked = functools.partial(plain, mask=mask), functools.partial(by_kernel, mask=mask)
            return worth_keeping(jax.lax.platform_dependent(q, k, v, default=masked[0], cuda=masked[1]))
    return worth_keeping(plain(q, k, v, mask=mask, bias=bias))


def attend_in_chunks(
    q: Float[Array, "b q n c"],
    k: Float[Array, "b s n c"],
    v: Float[Array, "b s n c"],
    relative: Relative = (),
    mask: Bool[Array, "b 1 1 s"] | None = None,
    at_once: int = SCORES_AT_ONCE,
    in_cache: int = SCORES_IN_CACHE,
) -> Float[Array, "b q n c"]:
    """Softmax attention, a part of the scores at a time; the backward pass computes each part's scores again.

    Args:
      relative: of keys on a grid of h rows and w columns, S = h w: float32 [B, Q, n, h] and [B, Q, n, w], which are
        added to a query's scores by the key's row and column. Empty: there are no relative positions.
      mask: the keys that exist.
      at_once: the most scores in memory of each head and image. Those of a ViTDet-L would fill a large accelerator.
      in_cache: on a CPU, the most scores of all heads and images together; not with `mask`.
    """
    by_queries = functools.partial(_by_queries, at_once=at_once)
    if mask is not None:
        return worth_keeping(by_queries(q, k, v, mask=mask))
    kernel = {"cuda": by_kernel} if kernel_takes(q, k, v, relative) else {}
    scores = q.shape[1] * k.shape[1]
    if not kernel and scores <= at_once and len(q) * q.shape[2] * scores <= in_cache:
        return worth_keeping(plain(q, k, v, *relative))  # What follows comes to the same, and takes longer to trace.
    by_heads = functools.partial(_by_heads, in_cache=in_cache)
    return worth_keeping(jax.lax.platform_dependent(q, k, v, *relative, cpu=by_heads, default=by_queries, **kernel))


def plain(q, k, v, *relative, mask=None, bias=None):
    """Attention by its definition; softmax in float32."""
    scores = product("...qnc,...snc->...nqs", q, k) * q.shape[-1] ** -0.5
    if relative:
        by_row, by_column = (part.swapaxes(-2, -3) for part in relative)
        scores += (by_row[..., :, None] + by_column[..., None, :]).reshape(scores.shape)
    if bias is not None:
        scores += bias.astype(scores.dtype)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jnp.einsum("...nqs,...snc->...qnc", jax.nn.softmax(scores).astype(v.dtype), v)


def kernel_takes(q, k, v, relative: Relative = ()) -> bool:
    """Whether cuDNN's attention runs on the devices of this process, for these lengths, widths and types."""
    if q.ndim != 4 or q.dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if q.shape[1] % 2 or k.shape[1] % 2:  # Its gradient takes even lengths alone.
        return False
    width = q.shape[-1] + sum(part.shape[-1] for part in relative)
    return q.dtype == k.dtype == v.dtype and q.shape[-1] == v.shape[-1] and width + -width % _MULTIPLE <= widest_head()


def widest_head() -> int:
    """The most channels of a head that cuDNN's attention takes on the devices of this process; 0: there is none."""
    if (given := _WIDEST_HEAD.get()) is not None:
        return given
    if jax.default_backend() != "gpu":
        return 0
    try:
        capability = float(jax.devices()[0].compute_capability)
    except (AttributeError, ValueError):  # Not CUDA.
        return 0
    return widest_head_of(capability)


def widest_head_of(capability: float) -> int:
    """The same for NVIDIA's cards of one compute capability."""
    return 256 if capability >= 9 else 128 if capability >= 8 else 0


def by_kernel(q, k, v, *relative, mask: Bool[Array, "m n q s"] | None = None):
    """Attention by cuDNN's kernel; equal to `plain`, but for relative positions in the type of `q`."""
    channels = q.shape[-1]
    if mask is not None:  # The kernel broadcasts it over images and heads alone.
        mask = jnp.broadcast_to(mask, (*mask.shape[:2], q.shape[1], k.shape[1]))
    q, k = folded(q, k, *relative)
    v = _widened(v, q.shape[-1])  # ours: a narrower value needs a newer cuDNN (9.10).
    return jax.nn.dot_product_attention(q, k, v, mask=mask, scale=1.0, implementation="cudnn")[..., :channels]


def folded(q, k, by_row=None, by_column=None):
    """Queries and keys whose products are scaled scores with relative positions: q' = [q / sqrt(c), by_row, by_column],
    k' = [k, onehot(row), onehot(column)], and zeros up to the next width that the kernel takes."""
    wide_q, wide_k = [(q * q.shape[-1] ** -0.5).astype(q.dtype)], [k]
    if by_row is not None:
        place = np.indices((by_row.shape[-1], by_column.shape[-1])).reshape(2, -1)
        for relative, index in zip((by_row, by_column), place, strict=True):
            wide_q.append(relative.astype(q.dtype))
            indicator = jnp.asarray(np.eye(relative.shape[-1])[index], k.dtype)[:, None]
            wide_k.append(jnp.broadcast_to(indicator, (*k.shape[:-1], relative.shape[-1])))
    if gap := -sum(part.shape[-1] for part in wide_q) % _MULTIPLE:
        for parts in (wide_q, wide_k):
            parts.append(jnp.zeros((*parts[0].shape[:-1], gap), q.dtype))
    return jnp.concatenate(wide_q, -1), jnp.concatenate(wide_k, -1)


def _widened(x, channels: int):
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - x.shape[-1])])


def _by_queries(q, k, v, *relative, mask=None, at_once: int):
    """A chunk of queries after the other, of all heads and images."""
    queries, keys = q.shape[1], k.shape[1]
    chunks = -(-queries * keys // at_once)
    if chunks == 1:
        return plain(q, k, v, *relative, mask=mask)
    size = -(-queries // chunks)

    def split(x):
        x = jnp.pad(x, ((0, 0), (0, chunks * size - queries), (0, 0), (0, 0)))
        return jnp.moveaxis(x.reshape(len(x), chunks, size, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def chunk(parts):
        return plain(parts[0], k, v, *parts[1:], mask=mask)

    out = jax.lax.map(chunk, tuple(split(x) for x in (q, *relative)))
    return jnp.moveaxis(out, 0, 1).reshape(len(q), chunks * size, *q.shape[2:])[:, :queries]


def _by_heads(q, k, v, *relative, in_cache: int):
    """A few heads of an image after the other, or a chunk of the queries of one head."""
    b, queries, n, _ = q.shape
    heads, per_head = b * n, queries * k.shape[1]
    if heads * per_head <= in_cache:
        return plain(q, k, v, *relative)
    by_head = [x.swapaxes(1, 2).reshape(heads, x.shape[1], -1) for x in (q, k, v, *relative)]
    loops = -(-heads // max(in_cache // per_head, 1))  # Equal groups, of which the last may be padded.
    group = -(-heads // loops)
    chunks = -(-per_head // in_cache) if group == 1 else 1
    size = -(-queries // chunks)

    @jax.checkpoint
    def attend_chunk(q, k, v, *relative):
        """[g, s, c] of g heads. As `plain`, but what is divided by the sum of the weights is the result."""
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
