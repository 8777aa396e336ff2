"""ViTDet's simple feature pyramid [39] as the pixel decoder (paper 4): every level comes from the one map."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.convolution import Doubling, convolve
from dataseg_jax.networks.primitives.layers import layer_norm
from dataseg_jax.networks.primitives.resize import bilinear, largest_of_four


class SimplePyramid(nn.Module):
    """Levels at strides 4, 8, 16 and 32 from a map at stride 16; upsampled and added they give F.

    The paper adds the levels and names no projection after it; there is none.

    Attributes:
      width: channels of every output.
    """

    width: int = 256
    dtype: jnp.dtype = jnp.float32

    @property
    def mask_variance(self) -> float:
        """Of the mask head's last layer at initialisation: F is a sum of four normalised levels, and a mask a product
        over its channels, so that masks would start saturated.

        ours: the deviation of a ViTDet-B's mask logits was 12.1 with unit variance, it is .76.
        """
        return 1 / self.width

    def level_strides(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The strides of its levels for a backbone with maps at `strides`.

        Raises:
          InputError: the backbone has more than one map, or none at stride 16.
        """
        if tuple(strides) != (16,):
            raise InputError(
                "model.pixel_decoder.name='simple_pyramid': it takes one map at stride 16 (vitdet with patch 16), this "
                f"backbone's maps lie at {', '.join(map(str, strides))}; resnet goes with transformer_fpn"
            )
        return (4, 8, 16, 32)

    @nn.compact
    def __call__(self, features):
        """[one map [B, h, w, C]] -> (F [B, 4 h, 4 w, width], maps of every level, finest first)."""
        conv = functools.partial(nn.Conv, dtype=self.dtype, conv_general_dilated=convolve)
        (x,) = features
        channels = x.shape[-1]

        def deconv(x, features, name):
            return Doubling(features, self.dtype, name=name)(x)

        finest = layer_norm("deconv_norm_0", self.dtype, 1e-6)(deconv(x, channels // 2, "deconv_0"))
        finest = deconv(nn.gelu(finest, approximate=False), channels // 4, "deconv_1")
        scaled = [finest, deconv(x, channels // 2, "deconv_2"), x, largest_of_four(x)]

        def output(x, level):
            x = conv(self.width, (1, 1), use_bias=False, name=f"lateral_{level}")(x)
            x = layer_norm(f"lateral_norm_{level}", self.dtype, 1e-6)(x)
            x = conv(self.width, (3, 3), use_bias=False, name=f"output_{level}")(x)
            return layer_norm(f"output_norm_{level}", self.dtype, 1e-6)(x)

        levels = [output(x, level) for level, x in enumerate(scaled)]
        upsampled = (bilinear(level, levels[0].shape[1:3]) for level in levels[1:])
        return sum(upsampled, levels[0]), levels
