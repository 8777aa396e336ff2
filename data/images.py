"""Decoding of images, re-exported from `dataseg_jax.io.images`, for readers; predicting needs it too."""

from dataseg_jax.io.images import (
    LIMITS,
    MOST_PIXELS,
    Limits,
    decode_gray,
    decode_labels,
    decode_panoptic_ids,
    decode_rgb,
    decoded_size,
    open_lazily,
    read_gray,
    read_inside,
    read_labels,
    read_panoptic_ids,
    read_rgb,
    require_size,
)

__all__ = [
    "LIMITS",
    "MOST_PIXELS",
    "Limits",
    "decode_gray",
    "decode_labels",
    "decode_panoptic_ids",
    "decode_rgb",
    "decoded_size",
    "open_lazily",
    "read_gray",
    "read_inside",
    "read_labels",
    "read_panoptic_ids",
    "read_rgb",
    "require_size",
]
