"""SAM 2's neck: the image embedding at stride 16, and two finer maps for the mask decoder (SAM 2, as released)."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dataseg_jax.errors import InputError
from dataseg_jax.networks.primitives.convolution import convolve


class HieraFPN(nn.Module):
    """A 1x1 convolution of every map to `width` channels; that of stride 32 is added to that of stride 16.

    Attributes:
      width: channels of the embedding. Those of stride 4 have an eighth, those of stride 8 a quarter: the mask decoder
        adds them to the upscaled image, and their convolutions are here, so that they run once per image.
    """

    width: int = 256
    dtype: jnp.dtype = jnp.float32

    skips = True  # The levels are features of twice and four times the embedding's resolution.

    @property
    def mask_variance(self) -> float:
        """Of a mask head's last layer at initialisation, as other pixel decoders have it."""
        return 1 / self.width

    def level_strides(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The stride of the embedding for a backbone with maps at `strides`.

        Raises:
          InputError: the backbone has no such maps.
        """
        if tuple(strides) != (4, 8, 16, 32):
            raise InputError(
                "model.pixel_decoder.name='hiera_fpn': it takes maps at strides 4, 8, 16 and 32 (hiera, swin, resnet), "
                f"and this backbone's lie at {', '.join(map(str, strides))}; vitdet goes with sam_neck"
            )
        return (16,)

    @nn.compact
    def __call__(self, features):
        """Maps at strides 4, 8, 16 and 32 -> (the embedding [B, h, w, width], [maps [B, 4h, 4w, width / 8] and [B, 2h,
        2w, width / 4]])."""
        conv = functools.partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype, conv_general_dilated=convolve)
        laterals = [conv(self.width, name=f"lateral_{i}")(x) for i, x in enumerate(features)]
        x = laterals[2] + laterals[3].repeat(2, 1).repeat(2, 2)  # The nearest of the coarser map.
        fine = conv(self.width // 8, name="skip_0")(laterals[0])
        coarse = conv(self.width // 4, name="skip_1")(laterals[1])
        return x, [fine, coarse]
