"""From proposals to answers: panoptic, semantic and instance results (paper 3.2; rules of MaskFormer and Mask2Former).

Every function merges first, with the code of training, then resizes the merged mask *logits* to `size`
(bilinear, half-pixel centres, no antialiasing: torch's `align_corners=False`), and then takes sigmoids.
p(n, k) is the softmax of slot n over its categories and background. Categories that a vocabulary lacks come in
with logits of -1e9 and change no answer. All shapes are static: `size` and `top_k` are Python values.
"""

import math
from functools import partial

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.inference import tiles
from dataseg_jax.inference.tasks import instance as instances
from dataseg_jax.inference.tasks import panoptic as panoptics
from dataseg_jax.inference.tasks import semantic as semantics
from dataseg_jax.results.thresholds import Thresholds

__all__ = ["InstanceOutput", "PanopticOutput", "Thresholds", "instance", "panoptic", "semantic"]


@flax.struct.dataclass
class PanopticOutput:
    """One id per pixel. Dropped slots have labels and scores too, to find the threshold that dropped them."""

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
    score_threshold: float | Float[Array, ""] = Thresholds.score,
    overlap_threshold: float | Float[Array, ""] = Thresholds.overlap,
) -> PanopticOutput:
    """Non-overlapping segments of stuff and things.

    A merged slot is a candidate when its arg-max is a category with p > `score_threshold`. A pixel goes to the
    candidate with the largest p * sigmoid(mask), the first of equals, and counts as its own only where
    sigmoid(mask) >= .5 (Mask2Former). A candidate stays when it owns at least one pixel and at least
    `overlap_threshold` of the pixels where sigmoid(mask) >= .5; what a dropped one owned is void. In that share
    Mask2Former counts all pixels that a candidate wins, those outside of its mask too, and so keeps some that are
    dropped here (ours: only pixels that the answer would show count).

    Args:
      class_logits: K categories and background (last).
      mask_logits: masks of the same proposals.
      mergeable: categories that are one segment per image (the stuff), for all images or for each.
      size: (H, W) of the answer; None keeps the size of the masks.
      score_threshold: lowest p of a candidate, exclusive.
      overlap_threshold: lowest share of its own area that a segment may be left with, inclusive.
    """
    merged = panoptics.merge(class_logits, mask_logits, mergeable, None, score_threshold)
    size = size or mask_logits.shape[2:]
    tile = tiles.whole(mask_logits.shape[2:], size)

    def one(merged):
        owner, owned, area = panoptics.tile(merged, *tile)
        valid = panoptics.kept(owned, area, overlap_threshold)
        return jnp.where(jnp.append(False, valid)[owner], owner, 0), valid

    ids, valid = tiles.image_by_image(one, merged, math.prod(size))
    return PanopticOutput(ids=ids, labels=merged.labels, scores=merged.scores, valid=valid)


@partial(jax.jit, static_argnames=("size",))
def semantic(
    class_logits: Float[Array, "b n k1"],
    mask_logits: Float[Array, "b n h w"],
    mergeable: Bool[Array, "*#b k"] | None = None,
    size: tuple[int, int] | None = None,
) -> Int[Array, "b H W"]:
    """The category of every pixel: the arg-max over k of the sum over merged slots of p(n, k) sigmoid(mask n).

    There is no void: every pixel gets the best category, however weak. Categories whose class logits are -1e9
    are never the answer, even where all sums are 0.

    Args:
      class_logits: K categories and background (last).
      mask_logits: masks of the same proposals.
      mergeable: None merges every category, as the semantic task is trained.
      size: (H, W) of the answer; None keeps the size of the masks.
    """
    size = size or mask_logits.shape[2:]
    tile = tiles.whole(mask_logits.shape[2:], size)
    if mergeable is None:
        mergeable = jnp.ones(class_logits.shape[-1] - 1, bool)
    merged = semantics.merge(class_logits, mask_logits, mergeable, None, None)
    return tiles.image_by_image(lambda merged: semantics.tile(merged, *tile)[0], merged, math.prod(size))


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
      mergeable: None merges nothing, as the instance task is trained. With a panoptic row stuff is merged and is among
        the answers: drop its labels afterwards, as Mask2Former does.
      size: (H, W) of the answer; None keeps the size of the masks.
      top_k: answers per image, at most N x K; None = N.

    Raises:
      InputError: `top_k` is not within 1 .. N x K.
    """
    if mergeable is None:
        mergeable = jnp.zeros(class_logits.shape[-1] - 1, bool)
    merged = instances.merge(class_logits, mask_logits, mergeable, None, top_k=top_k)
    size = size or mask_logits.shape[2:]
    tile = tiles.whole(mask_logits.shape[2:], size)

    def one(merged):
        inside, total, area = instances.tile(merged, *tile)
        order, scores = instances.ordered(merged.p, merged.slot, total, area)
        slot = merged.slot[order]
        return InstanceOutput(inside[slot], merged.labels[order], scores, _boxes(inside)[slot], scores > 0)

    return tiles.image_by_image(one, merged, math.prod(size))


def _boxes(masks: Bool[Array, "n H W"]) -> Float[Array, "n 4"]:
    """Tight x0 y0 x1 y1, the last two exclusive; zeros for an empty mask."""

    def extent(present: Bool[Array, "n s"]):
        first = jnp.argmax(present, -1)
        last = present.shape[-1] - jnp.argmax(present[..., ::-1], -1)
        return first, jnp.where(present.any(-1), last, 0)

    (x0, x1), (y0, y1) = extent(masks.any(1)), extent(masks.any(2))
    return jnp.stack([x0, y0, x1, y1], -1).astype(jnp.float32)
