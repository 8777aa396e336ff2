"""From proposals to answers: panoptic, semantic and instance results (paper 3.2; rules of MaskFormer and Mask2Former).

Every function merges first, with the very code of training, then resizes the merged mask *logits* to `size`
(bilinear, half-pixel centres, no antialiasing: torch's `align_corners=False`), and only then takes sigmoids.
p(n, k) is the softmax of slot n over its categories and background. Categories that a vocabulary lacks come in
with logits of -1e9 and change no answer. All shapes are static: `size` and `top_k` are Python values.
"""

from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.merge import MergedProposals, merge_proposals

_ROWS = 16  # Picture rows scored at once by `semantic`: K = 1216 maps of a whole picture would fill the memory.
_MISSING = -5e8  # Between any real class logit and the -1e9 of a missing category.


@flax.struct.dataclass
class PanopticOutput:
    """One id a pixel. Labels and scores are given for dropped slots too, to tell which threshold dropped them."""

    ids: Int[Array, "b H W"]  # 0 = void, n + 1 = slot n.
    labels: Int[Array, "b n"]  # Category index; -1 = background or an empty slot.
    scores: Float[Array, "b n"]  # p of that label, 0 where it is -1.
    valid: Bool[Array, "b n"]  # The slot is a segment of the answer: its id occurs in `ids`.


@flax.struct.dataclass
class InstanceOutput:
    """Masks that may overlap, best score first. Slots whose `valid` is False hold nothing."""

    masks: Bool[Array, "b k H W"]
    labels: Int[Array, "b k"]
    scores: Float[Array, "b k"]
    boxes: Float[Array, "b k 4"]  # x0 y0 x1 y1 around the mask, x1 and y1 exclusive (x1 - x0 = width).
    valid: Bool[Array, "b k"]


@partial(jax.jit, static_argnames=("size",))
def panoptic(
    class_logits: Float[Array, "b n k1"],
    mask_logits: Float[Array, "b n h w"],
    mergeable: Bool[Array, "*#b k"],
    size: tuple[int, int] | None = None,
    score_threshold: float | Float[Array, ""] = 0.8,
    overlap_threshold: float | Float[Array, ""] = 0.8,
) -> PanopticOutput:
    """Non-overlapping segments of stuff and things.

    A merged slot is a candidate when its arg-max is a category with p > `score_threshold`. A pixel goes to the
    candidate with the largest p * sigmoid(mask), the first of equals, and counts as its own only where
    sigmoid(mask) >= .5 (Mask2Former). A candidate stays when it owns at least one pixel and at least
    `overlap_threshold` of the pixels where sigmoid(mask) >= .5; what a dropped one owned is void.

    Args:
      class_logits: K categories and background (last).
      mask_logits: masks of the same proposals.
      mergeable: categories that are one segment a picture (the stuff), for all pictures or for each.
      size: (H, W) of the answer; None keeps the size of the masks.
      score_threshold: lowest p of a candidate, exclusive.
      overlap_threshold: lowest share of its own area that a segment may be left with, inclusive.
    """
    merged, p = _merge(class_logits, mask_logits, mergeable, size)
    labels, scores = _labels(merged, p)
    candidate = (labels >= 0) & (scores > score_threshold)
    inside = merged.mask_logits >= 0  # sigmoid >= .5

    weighted = scores[:, :, None, None] * jax.nn.sigmoid(merged.mask_logits)
    owner = jnp.argmax(jnp.where(candidate[:, :, None, None], weighted, -1.0), 1)
    slots = jnp.arange(labels.shape[1])[:, None, None]
    owned = (owner[:, None] == slots) & inside & candidate[:, :, None, None]

    area = owned.sum((2, 3))
    valid = (area > 0) & (area / jnp.maximum(inside.sum((2, 3)), 1) >= overlap_threshold)
    ids = jnp.where(owned & valid[:, :, None, None], slots + 1, 0).max(1)
    return PanopticOutput(ids=ids.astype(jnp.int32), labels=labels, scores=scores, valid=valid)


@partial(jax.jit, static_argnames=("size",))
def semantic(
    class_logits: Float[Array, "b n k1"],
    mask_logits: Float[Array, "b n h w"],
    mergeable: Bool[Array, "*#b k"] | None = None,
    size: tuple[int, int] | None = None,
) -> Int[Array, "b H W"]:
    """The category of every pixel: the arg-max over k of the sum over merged slots of p(n, k) sigmoid(mask n).

    There is no void: every pixel gets the best category, however weak. Categories whose class logits are -1e9
    are never the answer, not even where all sums are 0.

    Args:
      class_logits: K categories and background (last).
      mask_logits: masks of the same proposals.
      mergeable: None merges every category, as the semantic task is trained.
      size: (H, W) of the answer; None keeps the size of the masks.
    """
    if mergeable is None:
        mergeable = jnp.ones(class_logits.shape[-1] - 1, bool)
    merged, p = _merge(class_logits, mask_logits, mergeable, size)
    exists = (merged.valid[..., None] & (merged.class_logits[..., :-1] > _MISSING)).any(1)

    def label_row(logits: Float[Array, "b n W"]) -> Int[Array, "b W"]:
        score = jnp.einsum("bnk,bnw->bkw", p, jax.nn.sigmoid(logits), precision=jax.lax.Precision.HIGHEST)
        return jnp.argmax(jnp.where(exists[..., None], score, -1.0), 1).astype(jnp.int32)

    rows = jax.lax.map(label_row, jnp.moveaxis(merged.mask_logits, 2, 0), batch_size=_ROWS)
    return jnp.moveaxis(rows, 0, 1)


@partial(jax.jit, static_argnames=("size", "top_k"))
def instance(
    class_logits: Float[Array, "b n k1"],
    mask_logits: Float[Array, "b n h w"],
    mergeable: Bool[Array, "*#b k"] | None = None,
    size: tuple[int, int] | None = None,
    top_k: int | None = None,
) -> InstanceOutput:
    """The `top_k` pairs of slot and category with the largest p, as masks of their own that may overlap.

    A mask is sigmoid >= .5; its score is p times the mean of sigmoid(mask) over it (Mask2Former). The pairs are
    chosen by p and then sorted by score. One slot may answer for several categories. A pair whose mask is empty,
    whose slot is empty or whose p is 0 is not valid.

    Args:
      class_logits: K categories and background (last).
      mask_logits: masks of the same proposals.
      mergeable: None merges nothing, as the instance task is trained. With a panoptic row stuff is merged and
        answers too: drop its labels afterwards, as Mask2Former does.
      size: (H, W) of the answer; None keeps the size of the masks.
      top_k: answers a picture, at most N x K; None = N.

    Raises:
      InputError: `top_k` is not within 1 .. N x K.
    """
    n, k = class_logits.shape[1], class_logits.shape[2] - 1
    top_k = n if top_k is None else top_k
    if not 1 <= top_k <= n * k:
        raise InputError(f"instance: top_k is {top_k}, must be within 1 and N x K = {n} x {k} = {n * k}")
    if mergeable is None:
        mergeable = jnp.zeros(k, bool)
    merged, p = _merge(class_logits, mask_logits, mergeable, size)
    inside = merged.mask_logits >= 0
    area = inside.sum((2, 3))
    quality = jnp.where(inside, jax.nn.sigmoid(merged.mask_logits), 0).sum((2, 3)) / jnp.maximum(area, 1)

    best, pair = jax.lax.top_k(p.reshape(p.shape[0], -1), top_k)
    scores = best * jnp.take_along_axis(quality, pair // k, 1)
    order = jnp.argsort(scores, axis=1, descending=True, stable=True)
    pair, scores = jnp.take_along_axis(pair, order, 1), jnp.take_along_axis(scores, order, 1)
    slot = pair // k
    return InstanceOutput(
        masks=jnp.take_along_axis(inside, slot[:, :, None, None], 1),
        labels=(pair % k).astype(jnp.int32),
        scores=scores,
        boxes=jnp.take_along_axis(_boxes(inside), slot[:, :, None], 1),
        valid=scores > 0,  # p, the slot and the mask's area are all in it.
    )


def _merge(class_logits, mask_logits, mergeable, size) -> tuple[MergedProposals, Float[Array, "b n k"]]:
    """MERGE, masks at `size`, and p without its background column (0 in empty slots)."""
    merged = merge_proposals(class_logits.astype(jnp.float32), mask_logits.astype(jnp.float32), mergeable)
    if size is not None and tuple(size) != mask_logits.shape[2:]:
        shape = (*mask_logits.shape[:2], *size)
        merged = merged.replace(mask_logits=jax.image.resize(merged.mask_logits, shape, "bilinear", antialias=False))
    p = jax.nn.softmax(merged.class_logits, -1)[..., :-1]
    return merged, jnp.where(merged.valid[..., None], p, 0)


def _labels(merged: MergedProposals, p: Float[Array, "b n k"]) -> tuple[Int[Array, "b n"], Float[Array, "b n"]]:
    """Arg-max category and its p; -1 and 0 for background and empty slots."""
    label = jnp.argmax(merged.class_logits, -1)
    is_category = merged.valid & (label < p.shape[-1])
    return jnp.where(is_category, label, -1).astype(jnp.int32), jnp.where(is_category, p.max(-1), 0)


def _boxes(masks: Bool[Array, "b n H W"]) -> Float[Array, "b n 4"]:
    """Tight x0 y0 x1 y1, the last two exclusive; zeros for an empty mask."""

    def extent(present: Bool[Array, "b n s"]):
        first = jnp.argmax(present, -1)
        last = present.shape[-1] - jnp.argmax(present[..., ::-1], -1)
        return first, jnp.where(present.any(-1), last, 0)

    (x0, x1), (y0, y1) = extent(masks.any(2)), extent(masks.any(3))
    return jnp.stack([x0, y0, x1, y1], -1).astype(jnp.float32)
