"""Memory encoder: the mask of an object and the features of its frame -> a memory (SAM 2, section 4).

O objects, h x w cells of the features, C their channels.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.layers import xavier

HALVINGS = 4  # Of the mask: it has 16 x 16 pixels per cell of the features.


class FuserBlock(nn.Module):
    """A block of ConvNeXt: depthwise 7 x 7, norm, two linear layers with GELU between, layer scale, residual."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        y = nn.Conv(width, (7, 7), feature_group_count=width, dtype=self.dtype, name="depthwise")(x)
        y = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(y)
        y = nn.gelu(nn.Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")(y), approximate=False)
        y = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="down")(y)
        # ours: the initial value of the released code.
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (width,))
        return x + scale.astype(self.dtype) * y


class MemoryEncoder(nn.Module):
    """Features without memory and a mask -> a memory of few channels.

    Attributes:
      out: channels of a memory.
      width: of the mask after its convolutions; that of the features.
      blocks, hidden: of the blocks that mix mask and features.
    """

    out: int = 64
    width: int = 256
    blocks: int = 2
    hidden: int = 1024
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        if self.out < 4 or self.out % 4:  # Sines and cosines of two axes share the channels.
            raise InputError(f"model.memory.channels={self.out}: it must be a multiple of 4")

    @nn.compact
    def __call__(
        self, features: Float[Array, "_o h w c"], mask: Float[Array, "o 16*h 16*w"]
    ) -> Float[Array, "o h w out"]:
        """`features` has an entry per object, or one; `mask` is what stands for its probability, -10 .. 10."""
        x = mask[..., None].astype(self.dtype)
        conv = functools.partial(nn.Conv, dtype=self.dtype)
        for i in range(HALVINGS):
            down = conv(4 ** (i + 1), (3, 3), strides=2, padding=((1, 1), (1, 1)), name=f"mask_conv_{i}")
            # Of few channels: the fast variance, a difference of squares, loses digits that show in the memory.
            norm = nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, dtype=self.dtype, name=f"mask_norm_{i}")
            x = nn.gelu(norm(down(x)), approximate=False)
        x = conv(self.width, (1, 1), name="mask_out")(x)
        x = x + conv(self.width, (1, 1), name="feature_in")(features.astype(self.dtype))
        for i in range(self.blocks):
            x = FuserBlock(self.hidden, self.dtype, name=f"block_{i}")(x)
        return conv(self.out, (1, 1), name="out")(x)
