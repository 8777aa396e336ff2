"""Swin [Liu et al. 2021]: a pyramid of transformer blocks that attend within windows, every other one shifted."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones.grid_attention import small_normal
from dataseg_jax.networks.backbones.vitdet import MLP, from_windows, to_windows
from dataseg_jax.networks.primitives import remat
from dataseg_jax.networks.primitives.attention import attend
from dataseg_jax.networks.primitives.convolution import convolve
from dataseg_jax.networks.primitives.layers import layer_norm
from dataseg_jax.networks.primitives.placement import by_image
from dataseg_jax.networks.primitives.products import Dense

EPSILON = 1e-5  # Of the norms.


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each offset between two places of a window."""

    heads: int
    window: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "w s c"], allowed: np.ndarray | None) -> Float[Array, "w s c"]:
        """Windows of S places; `allowed` bool[n, S, S]: which places see each other in the n windows of an image."""
        count, places, width = x.shape
        qkv = Dense(3 * width, dtype=self.dtype, kernel_init=small_normal, name="qkv")(x)
        q, k, v = jnp.split(qkv.reshape(count, places, 3 * self.heads, width // self.heads), 3, 2)
        table = self.param("position_bias", small_normal, ((2 * self.window - 1) ** 2, self.heads), jnp.float32)
        bias = table[_offsets(self.window)].transpose(2, 0, 1)[None].astype(self.dtype)
        mask = None if allowed is None else jnp.tile(allowed, (count // len(allowed), 1, 1))[:, None]
        x = attend(q, k, v, mask, bias).reshape(count, places, width)
        return Dense(width, dtype=self.dtype, kernel_init=small_normal, name="proj")(x)


def _offsets(window: int) -> np.ndarray:
    """int[S, S]: the row of the table for each pair of places of a window."""
    place = np.stack(np.meshgrid(*[np.arange(window)] * 2, indexing="ij")).reshape(2, -1)
    rows, columns = place[:, :, None] - place[:, None] + window - 1
    return rows * (2 * window - 1) + columns


def _same_region(height: int, width: int, window: int, shift: int) -> np.ndarray:
    """bool[n, S, S]: after a grid was rolled by `shift`, which places of a window were neighbours before."""

    def parts(length):
        return np.digitize(np.arange(length), [length - window, length - shift])

    region = 3 * parts(height)[:, None] + parts(width)
    region = region.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window**2)
    return region[:, :, None] == region[:, None]


class Block(nn.Module):
    """A pre-norm transformer block; `shift` rolls the grid before it is cut into windows."""

    heads: int
    window: int
    shift: int
    dtype: jnp.dtype
    mlp_ratio: float = 4

    @nn.compact
    def __call__(self, x, paths=None):
        """[B, h, w, C] -> [B, h, w, C]; `paths` [2, B] scales each image's two residual branches (drop path)."""

        def add(x, y, branch):
            return x + (y if paths is None else y * paths[branch, :, None, None, None].astype(y.dtype))

        height, width, channels = x.shape[1:]
        y = layer_norm("norm1", self.dtype, EPSILON)(x)
        # Zeros at the bottom and right, which are attended to, as in the reference.
        pads = -height % self.window, -width % self.window
        y = jnp.pad(y, ((0, 0), (0, pads[0]), (0, pads[1]), (0, 0)))
        padded, allowed = y.shape[1:3], None
        if self.shift:
            y = jnp.roll(y, (-self.shift, -self.shift), (1, 2))
            allowed = _same_region(*padded, self.window, self.shift)
        y = to_windows(y, self.window).reshape(-1, self.window**2, channels)
        y = WindowAttention(self.heads, self.window, self.dtype, name="attention")(y, allowed)
        y = from_windows(y.reshape(-1, self.window, self.window, channels), *padded)
        y = jnp.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y
        x = add(x, y[:, :height, :width], 0)
        y = layer_norm("norm2", self.dtype, EPSILON)(x)
        return add(x, MLP(int(channels * self.mlp_ratio), self.dtype, name="mlp")(y), 1)


class Swin(nn.Module):
    """Swin without its classifier; returns maps at strides 4, 8, 16, 32, finest first. Defaults are Swin-B's.

    Attributes:
      width: channels of the first stage, doubled from stage to stage (T, S: 96, B: 128, L: 192).
      depths: blocks of each stage.
      heads: of each stage (T, S: 3, 6, 12, 24; L: 6, 12, 24, 48).
      window: side of the windows in places: 7, or 12 of weights trained on images of 384 pixels.
      drop_path: probability that training skips a residual branch of the last block; grows linearly from 0.
      remat: store only the blocks' inputs for the backward pass, and compute the rest again.
      remat_keeps: what else is stored with `remat`, a key of `remat.KEPT`.
    """

    width: int = 128
    depths: Sequence[int] = (2, 2, 18, 2)
    heads: Sequence[int] = (4, 8, 16, 32)
    window: int = 12
    drop_path: float = 0.3
    remat: bool = False
    remat_keeps: str = "inputs"
    dtype: jnp.dtype = jnp.float32

    strides = (4, 8, 16, 32)  # Of the maps that are returned.

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != 4 or len(self.heads) != 4 or min(*self.depths, *self.heads, self.window) < 1:
            raise InputError(
                f"model.backbone: depths={tuple(self.depths)} and heads={tuple(self.heads)} must be 4 numbers each, "
                f"and like window={self.window} at least 1"
            )
        for stage, heads in enumerate(self.heads):
            if self.width * 2**stage % heads:
                raise InputError(
                    f"model.backbone.heads={tuple(self.heads)}: {heads} do not divide the {self.width * 2**stage} "
                    f"channels of stage {stage}"
                )
        if not 0 <= self.drop_path < 1:
            raise InputError(f"model.backbone.drop_path={self.drop_path}: it must be at least 0 and below 1")

    @property
    def layers(self) -> int:
        """For layer-wise decay of the learning rate: the stem is 0, block i of all is i + 1, output norms the last."""
        return sum(self.depths) + 1

    def layer_of(self, name: str) -> int:
        """The layer of a parameter by its path below the backbone, "stage0_block1/mlp/fc1/kernel"."""
        part = name.partition("/")[0]
        if part.startswith("stage"):
            stage, block = part.removeprefix("stage").split("_block")
            return sum(self.depths[: int(stage)]) + int(block) + 1
        if part.startswith("merge_"):  # With the block that follows.
            return sum(self.depths[: int(part[6])]) + 1
        return 0 if part.startswith("patch_embed") else self.layers

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Normalised images [B, H, W, 3] -> one map a stride, [B, H / stride, W / stride, C], rounded up."""
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % 4), (0, -x.shape[2] % 4), (0, 0)))
        embed = functools.partial(nn.Conv, dtype=self.dtype, conv_general_dilated=convolve)
        x = embed(self.width, (4, 4), 4, "VALID", name="patch_embed")(x)
        x = layer_norm("patch_embed_norm", self.dtype, EPSILON)(x)
        paths = self._paths(len(x)) if train and self.drop_path else None
        cls, maps, done = remat.blocks(Block, self.remat, self.remat_keeps), [], 0
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
            if stage:
                x = PatchMerging(self.dtype, name=f"merge_{stage}")(x)
            for i in range(depth):
                shift = self.window // 2 if i % 2 else 0
                block = cls(heads, self.window, shift, self.dtype, name=f"stage{stage}_block{i}")
                x = by_image(block(x, None if paths is None else paths[done]))
                done += 1
            maps.append(layer_norm(f"output_norm_{stage}", self.dtype, EPSILON)(x))
        return maps

    def _paths(self, batch) -> Float[Array, "blocks 2 b"]:
        """0 for a residual branch that is skipped, else 1 / (the probability that it is kept)."""
        count = sum(self.depths)
        keep = 1 - np.linspace(0, self.drop_path, count, dtype=np.float32)[:, None, None]
        return jax.random.bernoulli(self.make_rng("dropout"), keep, (count, 2, batch)) / keep


class PatchMerging(nn.Module):
    """2 x 2 places become one of twice the channels; odd sides are padded with zeros."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]  # The order of pretrained weights: down, then right.
        x = layer_norm("norm", self.dtype, EPSILON)(jnp.concatenate(parts, -1))
        width = x.shape[-1] // 2
        return Dense(width, use_bias=False, dtype=self.dtype, kernel_init=small_normal, name="reduction")(x)
