"""MaskFormer's pixel decoder [10] with the paper's LayerNorm and GELU: a transformer encoder and an FPN."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dataseg_jax.networks.primitives.convolution import convolve
from dataseg_jax.networks.primitives.layers import Attention, FeedForward, layer_norm, sine_positions
from dataseg_jax.networks.primitives.resize import nearest


class EncoderLayer(nn.Module):
    """Post-norm transformer encoder layer; positions are added to queries and keys only."""

    heads: int
    ffn: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, positions):
        width = x.shape[-1]
        query = x + positions
        attended = Attention(width, self.heads, self.dtype, name="attention")(query, query, x)
        x = layer_norm("norm1", self.dtype)(x + attended)
        return layer_norm("norm2", self.dtype)(x + FeedForward(self.ffn, self.dtype, name="ffn")(x))


class TransformerFPN(nn.Module):
    """A transformer encoder on the coarsest level, then a feature pyramid down to stride 4.

    Attributes:
      width: channels of every output.
      layers, heads, ffn: of the encoder (MaskFormer: 6, 8, 2048).
    """

    width: int = 256
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    dtype: jnp.dtype = jnp.float32

    mask_variance = 1.0  # Of the mask head's last layer at initialisation; mask logits start at 3.8 for a ResNet-50.

    def level_strides(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The strides of its levels for a backbone with maps at `strides`: the same."""
        return tuple(strides)

    @nn.compact
    def __call__(self, features):
        """Backbone maps, finest first -> (F [B, h, w, width], maps of every level, finest first)."""
        conv = functools.partial(nn.Conv, dtype=self.dtype, conv_general_dilated=convolve)
        coarsest = features[-1]
        b, h, w, _ = coarsest.shape
        x = conv(self.width, (1, 1), name="input_projection")(coarsest).reshape(b, h * w, -1)
        positions = jnp.asarray(sine_positions(h, w, self.width).reshape(1, h * w, -1), self.dtype)
        for i in range(self.layers):
            x = EncoderLayer(self.heads, self.ffn, self.dtype, name=f"encoder_{i}")(x, positions)
        x = x.reshape(b, h, w, self.width)

        def output(x, level):
            x = conv(self.width, (3, 3), use_bias=False, name=f"output_{level}")(x)
            return nn.gelu(layer_norm(f"output_norm_{level}", self.dtype)(x), approximate=False)

        levels = [output(x, len(features) - 1)]
        for level in range(len(features) - 2, -1, -1):
            lateral = conv(self.width, (1, 1), use_bias=False, name=f"lateral_{level}")
            lateral = layer_norm(f"lateral_norm_{level}", self.dtype)(lateral(features[level]))
            above = nearest(levels[0], lateral.shape[1:3])
            levels.insert(0, output(lateral + above, level))
        mask_features = conv(self.width, (3, 3), name="mask_features")(levels[0])
        return mask_features, levels
