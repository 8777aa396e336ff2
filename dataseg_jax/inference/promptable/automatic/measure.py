"""What the filters look at, of each mask at the resolution of its crop: stability, area and box; jitted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of n masks of one crop of h x w pixels.

    Attributes:
      stability: float32[n], pixels above the threshold + offset by those above the threshold - offset; not a number
        where there is neither.
      area: int32[n], pixels above the threshold.
      box: int32[n, 4], the first and last column and row of the mask as x0 y0 x1 y1, all inclusive; zeros without one.
      masks: bool[n, h, w], or larger: only the first h rows and w columns of them have a meaning.
    """

    stability: np.ndarray
    area: np.ndarray
    box: np.ndarray
    masks: np.ndarray


def measure(logits, chosen: np.ndarray, size: tuple[int, int], threshold: float, offset: float) -> Measured:
    """Measures some masks of a batch, one after the other: nothing as large as the batch is computed on the way.

    One program serves every number of chosen masks, and every size up to that of the logits.

    Args:
      logits: float[N, H, W], of numpy or on a device; at least as large as the crop.
      chosen: int[n], which of them.
      size: height and width of the crop, at most H and W.
      threshold: a pixel whose logit is above it is the mask's.
      offset: of the stability.
    """
    index = np.zeros(len(logits), np.int32)
    index[: len(chosen)] = chosen
    cuts = np.array([threshold, threshold + offset, threshold - offset], np.float32)
    found = _measure(logits, index, len(chosen), np.array(size, np.int32), cuts)
    area, inner, outer, box, masks = (np.asarray(part)[: len(chosen)] for part in found)
    with np.errstate(invalid="ignore"):
        stability = inner.astype(np.float32) / outer.astype(np.float32)
    return Measured(stability, area, box, masks)


@jax.jit
def _measure(
    logits: Float[Array, "n h w"], index: Int[Array, " n"], count: Int[Array, ""], size: Int[Array, "2"], cuts
) -> tuple[Int[Array, " n"], Int[Array, " n"], Int[Array, " n"], Int[Array, "n 4"], Bool[Array, "n h w"]]:
    n, height, width = logits.shape
    inside = (jnp.arange(height) < size[0])[:, None] & (jnp.arange(width) < size[1])

    def one(i, state):
        mask, inner, outer = ((logits[index[i]] > cut) & inside for cut in cuts)
        rows = _sum(mask)
        (x0, x1), (y0, y1) = _extent(mask.any(0)), _extent(rows > 0)
        found = rows.sum(), _sum(inner).sum(), _sum(outer).sum(), jnp.stack([x0, y0, x1, y1]), mask
        return tuple(whole.at[i].set(part) for whole, part in zip(state, found, strict=True))

    counts = jnp.zeros(n, jnp.int32)
    start = counts, counts, counts, jnp.zeros((n, 4), jnp.int32), jnp.zeros(logits.shape, bool)
    return jax.lax.fori_loop(0, count, one, start)


def _sum(mask: Bool[Array, "h w"]) -> Int[Array, " h"]:
    return mask.sum(-1, dtype=jnp.int32)  # Row by row first: a sum over both axes at once takes longer on the CPU.


def _extent(present: Bool[Array, " s"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """The first and the last that is there; zeros if none is."""
    places = jnp.arange(len(present), dtype=jnp.int32)
    first = jnp.where(present, places, len(present)).min()
    return jnp.where(present.any(), first, 0), jnp.where(present, places, 0).max()
