"""EfficientNet-Lite: EfficientNet [Tan and Le, 2019] without squeeze-excite and with ReLU6, as its authors publish it.

Small and fast on a CPU. ours: the paper has no such backbone.
"""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones.depthwise import depthwise, same_padding
from dataseg_jax.networks.backbones.norms import NORMS
from dataseg_jax.networks.primitives import placement
from dataseg_jax.networks.primitives.convolution import convolve

# Of each stage: blocks, side of the kernel, stride, channels inside a block per channel of its input, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32
EPSILON = 1e-3  # Of the norms; frozen variances mean nothing without it.
he_out = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")


def stem_convolve(x, kernel, strides, padding, **others):
    """A convolution of few channels as the product of all patches: its kernel's gradient is a product too.

    Of images, which need no gradient; padded as TensorFlow's "SAME".
    """
    size, stride, (batch, _, _, channels) = len(kernel), strides[0], x.shape
    pads = [same_padding(length, size, stride) for length in x.shape[1:3]]
    h, w = (-(-length // stride) for length in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    patches = [
        x[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]
        for i, j in np.ndindex(size, size)
    ]
    patches = jnp.stack(patches, 3).reshape(-1, size * size * channels)
    return (patches @ kernel.reshape(-1, kernel.shape[-1])).reshape(batch, h, w, -1)


class Depthwise(nn.Module):
    """A depthwise convolution without bias; its kernel has the shape of `nn.Conv`'s with a group a channel."""

    size: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        # The output has as many channels, each of one kernel: fan_out is the kernel's own area.
        init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (self.size, self.size, 1, x.shape[-1]), jnp.float32)
        return depthwise(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)


class Block(nn.Module):
    """An inverted residual block: 1x1 to more channels, depthwise with the stride, 1x1 back."""

    width: int
    size: int
    stride: int
    expansion: int
    norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, path=None):
        """`path`: of every image, 0 if the block is skipped, else 1 / (the probability that it is kept)."""

        def norm(name, x, last=False):
            return NORMS[self.norm](zero_scale=last, epsilon=EPSILON, dtype=self.dtype, name=name)(x)

        adds = self.stride == 1 and x.shape[-1] == self.width
        y = x
        if self.expansion != 1:
            y = nn.relu6(norm("expand_norm", pointwise(x.shape[-1] * self.expansion, self.dtype, "expand")(x)))
        y = Depthwise(self.size, self.stride, self.dtype, name="depthwise")(y)
        y = nn.relu6(norm("depthwise_norm", y))
        y = norm("project_norm", pointwise(self.width, self.dtype, "project")(y), last=adds)
        if not adds:
            return y
        return x + (y if path is None else y * path.astype(y.dtype)[:, None, None, None])


def pointwise(features, dtype, name):
    return nn.Conv(
        features, (1, 1), use_bias=False, dtype=dtype, kernel_init=he_out, name=name, conv_general_dilated=convolve
    )


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier; returns maps at strides 4, 8, 16, 32, finest first.

    | model | width | depth |
    |---|---|---|
    | lite0 | 1.0 | 1.0 |
    | lite1 | 1.0 | 1.1 |
    | lite2 | 1.1 | 1.2 |

    Pretrained weights are of images with mean 127 and deviation 128 in every channel: `ModelSpec.mean` and `std`.

    Attributes:
      width, depth: multiply the channels and the blocks of the stages; the stem and the blocks of the first and the
        last stage stay as they are.
      norm: "frozen_batch" with pretrained weights, "group" from scratch.
      drop_path: probability in training that the last block is skipped, if it can be; falls linearly to 0 at the first.
    """

    width: float = 1.0
    depth: float = 1.0
    norm: str = "frozen_batch"
    drop_path: float = 0.0
    dtype: jnp.dtype = jnp.float32

    strides = (4, 8, 16, 32)  # Of the maps that are returned.

    def __post_init__(self):
        super().__post_init__()
        for name in ("width", "depth"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"model.backbone.{name}={getattr(self, name)}: it must be above 0; lite0 has 1.0")
        if self.norm not in NORMS:
            raise InputError(f"model.backbone.norm={self.norm!r}: it is one of {', '.join(NORMS)}")
        if not 0 <= self.drop_path < 1:
            raise InputError(f"model.backbone.drop_path={self.drop_path}: it must be at least 0 and below 1")

    @property
    def blocks(self) -> tuple[tuple[int, int, int, int], ...]:
        """(channels, side of the kernel, stride, expansion) of every block."""
        out = []
        for i, (repeats, size, stride, expansion, channels) in enumerate(STAGES):
            if 0 < i < len(STAGES) - 1:
                repeats = math.ceil(self.depth * repeats)
            first = (_scaled(channels, self.width), size, stride, expansion)
            out += [first] + [(first[0], size, 1, expansion)] * (repeats - 1)
        return tuple(out)

    @property
    def layers(self) -> int:
        """For layer-wise decay of the learning rate: the stem is 0, block i is i + 1."""
        return len(self.blocks) + 1

    def layer_of(self, name: str) -> int:
        """The layer of a parameter by its path below the backbone, "block_3/expand/kernel"."""
        part = name.partition("/")[0]
        return int(part.removeprefix("block_")) + 1 if part.startswith("block_") else 0

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Normalised images [B, H, W, 3] -> one map a stride, [B, H / stride, W / stride, C], rounded up."""
        x = nn.Conv(
            STEM, (3, 3), 2, use_bias=False, dtype=self.dtype, kernel_init=he_out, name="stem_conv",
            conv_general_dilated=stem_convolve,
        )(x)  # fmt: skip
        x = nn.relu6(NORMS[self.norm](epsilon=EPSILON, dtype=self.dtype, name="stem_norm")(x))
        paths = self._paths(len(x)) if train and self.drop_path else None
        strides = list(itertools.accumulate((stride for _, _, stride, _ in self.blocks), lambda a, b: a * b, initial=2))
        maps, cls = {}, placement.block(Block)
        for i, (channels, size, stride, expansion) in enumerate(self.blocks):
            block = cls(channels, size, stride, expansion, self.norm, self.dtype, name=f"block_{i}")
            x = block(x, None if paths is None else paths[i])
            maps[strides[i + 1]] = x
        return [maps[stride] for stride in self.strides]

    def _paths(self, batch):
        """[blocks, batch], as `Block` takes them."""
        keep = 1 - self.drop_path * np.arange(len(self.blocks), dtype=np.float32)[:, None] / len(self.blocks)
        return jax.random.bernoulli(self.make_rng("dropout"), keep, (len(self.blocks), batch)) / keep


def _scaled(channels: int, factor: float, multiple: int = 8) -> int:
    """Channels times a factor, rounded to a multiple of 8 that is at most 10% smaller."""
    wanted = channels * factor
    rounded = max(multiple, int(wanted + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * wanted else rounded
