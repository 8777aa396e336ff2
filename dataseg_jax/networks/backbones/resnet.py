"""The ResNet family [22]: 50 as in the paper, smaller ones from scratch with group norm for small machines."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from dataseg_jax.networks.backbones.norms import NORMS
from dataseg_jax.networks.primitives import placement
from dataseg_jax.networks.primitives.convolution import convolve

he_out = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1 - 3x3 - 1x1 with the stride in the 3x3 (torchvision's form)."""

    width: int
    stride: int
    bottleneck: bool
    norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        out = self.width * (4 if self.bottleneck else 1)
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        y = x
        for i, kernel in enumerate(kernels):
            last = i == len(kernels) - 1
            stride = self.stride if i == len(kernels) - 2 else 1
            y = conv(out if last else self.width, kernel, stride, self.dtype, f"conv{i + 1}")(y)
            y = NORMS[self.norm](zero_scale=last, dtype=self.dtype, name=f"norm{i + 1}")(y)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = conv(out, 1, self.stride, self.dtype, "shortcut")(x)
            x = NORMS[self.norm](dtype=self.dtype, name="shortcut_norm")(x)
        return nn.relu(x + y)


def conv(features, kernel, stride, dtype, name):
    padding = [(kernel // 2, kernel // 2)] * 2  # Symmetric, as in torch; "SAME" shifts by a pixel when strided.
    return nn.Conv(
        features, (kernel, kernel), stride, padding, use_bias=False, dtype=dtype, kernel_init=he_out, name=name,
        conv_general_dilated=convolve,
    )  # fmt: skip


class ResNet(nn.Module):
    """Residual network; returns the output of every stage, finest first.

    Attributes:
      stage_sizes: blocks a stage; the stages lie at strides 4, 8, 16, 32, as many as are given.
      width: channels inside the first stage; doubles with every stage.
      bottleneck: 1x1 - 3x3 - 1x1 blocks that put out 4 times their width.
      norm: "frozen_batch" with pre-trained weights (the paper), "group" from scratch.
      stem: "imagenet" = 7x7 at stride 2 and a max-pool (the paper); "deep" = two 3x3 at stride 2, for small images.
    """

    stage_sizes: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    norm: str = "frozen_batch"
    stem: str = "imagenet"
    dtype: jnp.dtype = jnp.float32

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of every feature map that is returned."""
        return tuple(4 * 2**i for i in range(len(self.stage_sizes)))

    layers = 0  # For layer-wise decay of the learning rate, which is for transformers.

    def layer_of(self, name: str) -> int:
        """The layer of a parameter for layer-wise decay: there is but one."""
        return 0

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Normalised images [B, H, W, 3] -> one feature map a stage, [B, H / stride, W / stride, C]."""
        if self.stem == "imagenet":
            x = conv(self.width, 7, 2, self.dtype, "stem_conv")(x)
            x = nn.relu(NORMS[self.norm](dtype=self.dtype, name="stem_norm")(x))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        else:
            for i, width in enumerate((self.width // 2, self.width)):
                x = conv(width, 3, 2, self.dtype, f"stem_conv{i + 1}")(x)
                x = nn.relu(NORMS[self.norm](dtype=self.dtype, name=f"stem_norm{i + 1}")(x))
        features, cls = [], placement.block(Block)
        for stage, blocks in enumerate(self.stage_sizes):
            for i in range(blocks):
                stride = 2 if stage > 0 and i == 0 else 1
                block = cls(
                    self.width * 2**stage,
                    stride,
                    self.bottleneck,
                    self.norm,
                    self.dtype,
                    name=f"stage{stage + 1}_block{i + 1}",
                )
                x = block(x)
            features.append(x)
        return features
