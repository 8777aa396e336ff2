"""Greedy non-maximum suppression of boxes, jitted: the indices that torchvision's `nms` returns, ties included."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

# A program serves all numbers of boxes up to a power of two; suppression goes through them in blocks of this size.
_LEAST, _BLOCK = 64, 1024


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float, limit: int | None = None) -> tuple[np.ndarray, int]:
    """Keeps each box whose IoU with every kept box of a higher score is at most `threshold`.

    Of equal scores the first box goes first. Boxes of no area suppress nothing and are not suppressed.

    Args:
      boxes: [N, 4], corners x0 y0 x1 y1; the IoU is computed in float32.
      scores: [N].
      threshold: a box goes where its IoU is strictly above it.
      limit: boxes that are looked at, those of the highest scores; the others are dropped. None: all.

    Returns:
      int64[kept], indices by descending score, and how many boxes the limit dropped.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    dropped = 0 if limit is None else max(len(order) - limit, 0)
    order = order[: len(order) - dropped]
    if not len(order):
        return order, dropped
    padded = np.zeros((max(_LEAST, 1 << (len(order) - 1).bit_length()), 4), np.float32)
    padded[: len(order)] = np.asarray(boxes)[order]
    kept = _kept(padded, len(order), _float32_at_most(threshold))
    return order[np.asarray(kept)[: len(order)]], dropped


def _float32_at_most(threshold: float) -> np.float32:
    """Torchvision compares a float32 IoU with a float64 threshold; with this one the comparison is the same."""
    near = np.float32(threshold)
    return near if float(near) <= threshold else np.nextafter(near, np.float32(-math.inf))


@jax.jit
def _kept(boxes: Float[Array, "n 4"], count: Int[Array, ""], threshold: Float[Array, ""]) -> Bool[Array, " n"]:
    """Of boxes in order of preference, of which the first `count` are real."""
    size = min(len(boxes), _BLOCK)

    def one(block, kept):
        first = block * size
        mine = jax.lax.dynamic_slice_in_dim(boxes, first, size)
        over = _iou(boxes, mine) > threshold
        free = ~(over & kept[:, None]).any(0) & (first + jnp.arange(size) < count)
        inner = jnp.triu(jax.lax.dynamic_slice_in_dim(over, first, size), 1)
        return jax.lax.dynamic_update_slice_in_dim(kept, _greedy(inner, free), first, 0)

    return jax.lax.fori_loop(0, -(-count // size), one, jnp.zeros(len(boxes), bool))


def _greedy(over: Bool[Array, "k k"], free: Bool[Array, " k"]) -> Bool[Array, " k"]:
    """The only solution of kept[j] = free[j] and no kept[i] with over[i, j], where i < j for all pairs.

    Each round settles at least one more box, and in practice a whole link of every chain of suppressions at once.
    """

    def again(state):
        kept, _ = state
        new = free & ~(over & kept[:, None]).any(0)
        return new, (new != kept).any()

    return jax.lax.while_loop(lambda state: state[1], again, (free, jnp.array(True)))[0]


def _iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Not a number for two boxes of no area, which is above no threshold."""
    low, high = jnp.maximum(a[:, None, :2], b[:, :2]), jnp.minimum(a[:, None, 2:], b[:, 2:])
    common = jnp.maximum(high - low, 0).prod(-1)
    area_a, area_b = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b))
    return common / (area_a[:, None] + area_b - common)
