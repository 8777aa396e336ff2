"""SAM's neck: the image embedding that prompts are answered from, one map of few channels (SAM, as released)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.convolution import convolve
from dataseg_jax.networks.primitives.layers import layer_norm


class SamNeck(nn.Module):
    """1x1 convolution, norm, 3x3 convolution, norm: a backbone's one map at its own stride in `width` channels.

    Attributes:
      width: channels of the output.
    """

    width: int = 256
    dtype: jnp.dtype = jnp.float32

    @property
    def mask_variance(self) -> float:
        """Of a mask head's last layer at initialisation, as other pixel decoders have it: the map is normalised, and a
        mask is a product over its channels."""
        return 1 / self.width

    def level_strides(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The stride of its level for a backbone with maps at `strides`.

        Raises:
          InputError: the backbone has more than one map.
        """
        if len(strides) != 1:
            raise InputError(
                "model.pixel_decoder.name='sam_neck': it takes one map (vitdet), and this backbone's lie at strides "
                f"{', '.join(map(str, strides))}; resnet goes with transformer_fpn"
            )
        return tuple(strides)

    @nn.compact
    def __call__(self, features):
        """[one map [B, h, w, C]] -> (the embedding [B, h, w, width], [the same])."""
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, conv_general_dilated=convolve)
        (x,) = features
        x = conv(self.width, (1, 1), name="lateral")(x)
        x = layer_norm("lateral_norm", self.dtype, 1e-6)(x)
        x = conv(self.width, (3, 3), name="output")(x)
        x = layer_norm("output_norm", self.dtype, 1e-6)(x)
        return x, [x]
