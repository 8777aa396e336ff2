"""From pictures of any size to mask logits at their own size: fit into the model's square, run, paste back."""

from collections.abc import Callable

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from dataseg_jax.merge import EMPTY_MASK_LOGIT
from dataseg_jax.types import STRIDE


def fit(image: np.ndarray, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Scales a picture uint8[H, W, 3] so that its longer side is `side`, and pads it to a square with zeros below
    and to the right; also returns its (height, width) inside the square."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(height * scale), 1), max(round(width * scale), 1)
    if size != (height, width):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, size[::-1], interpolation=how)
    square = np.zeros((side, side, 3), np.uint8)
    square[: size[0], : size[1]] = image
    return square, size


def make_forward(model: nn.Module) -> Callable:
    """(params, pictures uint8[B, S, S, 3], classifiers [K, E], category_valid [K], task = 0) -> the last layer's class
    logits [B, N, K+1] and mask logits [B, N, h, w], jitted. `task` chooses among dataset-specific modules, if any."""

    def forward(
        params,
        image: UInt8[Array, "b s s 3"],
        classifiers: Float[Array, "k e"],
        category_valid: Bool[Array, " k"],
        task: Int[Array, ""] | int = 0,
    ):
        rows = (classifiers, category_valid, jnp.asarray(task, jnp.int32))
        rows = (jnp.broadcast_to(x, (image.shape[0], *x.shape)) for x in rows)
        proposals = model.apply({"params": params}, image, *rows)
        return proposals.class_logits[:, -1], proposals.mask_logits(-1)

    return jax.jit(forward)


def paste(
    mask_logits: Float[Array, "b n h w"],
    fitted: Int[Array, "b 2"],
    original: Int[Array, "b 2"],
    size: tuple[int, int],
) -> Float[Array, "b n H W"]:
    """Mask logits of fitted pictures at the pictures' own resolution, bilinear, half-pixel centres.

    Args:
      fitted: height and width inside the model's square, in pixels.
      original: height and width of the pictures; at most `size`.
      size: of the answer, static; what lies outside the picture is -100.
    """

    def one(logits, fitted, original):
        # Cells in the padding were never supervised: the last cell of the picture continues into them.
        last = jnp.maximum(-(-fitted // STRIDE), 1) - 1
        rows = jnp.minimum(jnp.arange(logits.shape[1]), last[0])
        columns = jnp.minimum(jnp.arange(logits.shape[2]), last[1])
        logits = logits[:, rows][:, :, columns]
        scale = STRIDE * original / fitted
        full = jax.image.scale_and_translate(
            logits, (logits.shape[0], *size), (1, 2), scale, jnp.zeros(2), "bilinear", antialias=False
        )
        inside = (jnp.arange(size[0]) < original[0])[:, None] & (jnp.arange(size[1]) < original[1])[None]
        return jnp.where(inside, full, EMPTY_MASK_LOGIT)

    return jax.vmap(one)(mask_logits, fitted, original)
