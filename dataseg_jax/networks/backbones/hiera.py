"""Hiera [Ryali et al. 2023] as SAM 2 has it: a pyramid of plain transformer blocks that attend within windows, and
across the image in a few of them."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones.grid_attention import resize_positions, small_normal
from dataseg_jax.networks.backbones.vitdet import MLP, from_windows, to_windows
from dataseg_jax.networks.primitives import remat
from dataseg_jax.networks.primitives.attention import attend_in_chunks
from dataseg_jax.networks.primitives.layers import layer_norm
from dataseg_jax.networks.primitives.placement import by_image
from dataseg_jax.networks.primitives.products import Dense
from dataseg_jax.networks.primitives.resize import largest_of_four


class PooledAttention(nn.Module):
    """Every place of a grid attends to all of it; with `pooled`, the largest queries of each 2 x 2 places do."""

    width: int
    heads: int
    pooled: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        """[B, h, w, C] -> [B, h, w, width], or half the height and width."""
        b = len(x)
        qkv = Dense(3 * self.width, dtype=self.dtype, kernel_init=small_normal, name="qkv")(x)
        q, k, v = jnp.split(qkv, 3, -1)
        q = largest_of_four(q) if self.pooled else q
        grid = q.shape[1:3]
        q, k, v = (part.reshape(b, -1, self.heads, self.width // self.heads) for part in (q, k, v))
        x = attend_in_chunks(q, k, v).reshape(b, *grid, self.width)
        return Dense(self.width, dtype=self.dtype, kernel_init=small_normal, name="proj")(x)


class Block(nn.Module):
    """A pre-norm transformer block; `window` 0 attends across the image.

    Where the width changes, the sum starts from a projection of the normalised input; `pooled` halves height and width.
    """

    width: int
    heads: int
    hidden: int
    window: int
    pooled: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, paths=None):
        """[B, h, w, C] -> [B, h, w, width], or half the height and width; `paths` [2, B] scales each image's two
        residual branches (drop path)."""

        def add(x, y, branch):
            return x + (y if paths is None else y * paths[branch, :, None, None, None].astype(y.dtype))

        y = layer_norm("norm1", self.dtype, 1e-6)(x)
        if x.shape[-1] != self.width:
            x = Dense(self.width, dtype=self.dtype, kernel_init=small_normal, name="shortcut")(y)
        x = largest_of_four(x) if self.pooled else x
        y = to_windows(y, self.window) if self.window else y
        y = PooledAttention(self.width, self.heads, self.pooled, self.dtype, name="attention")(y)
        x = add(x, from_windows(y, *x.shape[1:3]) if self.window else y, 0)
        return add(x, MLP(self.hidden, self.dtype, name="mlp")(layer_norm("norm2", self.dtype, 1e-6)(x)), 1)


class Hiera(nn.Module):
    """Hiera without its classifier; returns maps at strides 4, 8, 16, 32, finest first. Defaults are SAM 2's T.

    The first block of a stage halves the grid and has the windows of the stage before. There are no relative positions.

    Attributes:
      width: channels of the first stage, doubled from stage to stage (T, S: 96, B+: 112, L: 144).
      heads: of the first stage, doubled from stage to stage (T, S: 1, B+, L: 2).
      depths: blocks of each stage.
      windows: side of the windows of each stage, in places; even, but for the last.
      global_blocks: the blocks that attend across the image, by their number in all stages.
      position_grid: side of the grid of absolute positions, resized to the input's (B+: 14). A table of one window is
        added to every window of the first stage.
      mlp_ratio: hidden width of the MLPs over that of the block.
      drop_path: probability that training skips a residual branch of the last block; grows linearly from 0.
      remat: store only the blocks' inputs for the backward pass, and compute the rest again.
      remat_keeps: what else is stored with `remat`, a key of `remat.KEPT`.
    """

    width: int = 96
    heads: int = 1
    depths: Sequence[int] = (1, 2, 7, 2)
    windows: Sequence[int] = (8, 4, 14, 7)
    global_blocks: Sequence[int] = (5, 7, 9)
    position_grid: int = 7
    mlp_ratio: float = 4
    drop_path: float = 0.1
    remat: bool = False
    remat_keeps: str = "inputs"
    dtype: jnp.dtype = jnp.float32

    strides = (4, 8, 16, 32)  # Of the maps that are returned.

    def __post_init__(self):
        super().__post_init__()
        if len(self.depths) != 4 or len(self.windows) != 4 or min(*self.depths, *self.windows) < 1:
            raise InputError(
                f"model.backbone: depths={tuple(self.depths)} and windows={tuple(self.windows)} must be 4 numbers each "
                "and at least 1"
            )
        if any(window % 2 for window in self.windows[:3]):
            raise InputError(f"model.backbone.windows={tuple(self.windows)}: the first three must be even")
        if self.heads < 1 or self.width % self.heads:
            raise InputError(f"model.backbone.width={self.width}: it must be a multiple of its {self.heads} heads")
        if not set(self.global_blocks) <= set(range(sum(self.depths))):
            raise InputError(
                f"model.backbone.global_blocks={tuple(self.global_blocks)}: each must be 0 to {sum(self.depths) - 1}"
            )
        if not 0 <= self.drop_path < 1:
            raise InputError(f"model.backbone.drop_path={self.drop_path}: it must be at least 0 and below 1")

    @property
    def layers(self) -> int:
        """For layer-wise decay: the embedding is 0, block i is i + 1, whatever follows the blocks is the last."""
        return sum(self.depths) + 1

    def layer_of(self, name: str) -> int:
        """The layer of a parameter by its path below the backbone, "block_3/mlp/fc1/kernel"."""
        part = name.partition("/")[0]
        if part.startswith("block_"):
            return int(part.removeprefix("block_")) + 1
        return 0 if part in ("patch_embed", "position_embedding", "window_embedding") else self.layers

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Normalised images [B, H, W, 3] -> one map a stride, [B, H / stride, W / stride, C].

        Raises:
          InputError: a side is not a multiple of the last stride.
        """
        if x.shape[1] % self.strides[-1] or x.shape[2] % self.strides[-1]:
            raise InputError(f"images of {x.shape[1]} x {x.shape[2]}: sides must be multiples of {self.strides[-1]}")
        x = nn.Conv(self.width, (7, 7), 4, 3, dtype=self.dtype, name="patch_embed")(x)
        x = x + self._positions(*x.shape[1:3]).astype(self.dtype)
        paths = self._paths(len(x)) if train and self.drop_path else None
        cls, maps = remat.blocks(Block, self.remat, self.remat_keeps), []
        ends = np.cumsum(self.depths) - 1
        for i, fields in enumerate(self._blocks()):
            x = by_image(cls(*fields, self.dtype, name=f"block_{i}")(x, None if paths is None else paths[i]))
            if i in ends:
                maps.append(x)
        return maps

    def _blocks(self):
        """Width, heads, hidden width, window and whether it pools, of every block."""
        blocks = []
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                first = i == 0 and stage > 0
                window = 0 if len(blocks) in self.global_blocks else self.windows[stage - first]
                width = self.width * 2**stage
                blocks.append((width, self.heads * 2**stage, int(width * self.mlp_ratio), window, first))
        return blocks

    def _positions(self, height: int, width: int) -> Float[Array, "height width c"]:
        """The grid's, resized, and those of a window, repeated."""
        size, window = self.position_grid, self.windows[0]
        grid = self.param("position_embedding", small_normal, (1, size, size, self.width))
        table = self.param("window_embedding", small_normal, (1, window, window, self.width))
        repeated = jnp.tile(table[0], (-(-height // window), -(-width // window), 1))
        return resize_positions(grid[0], height, width) + repeated[:height, :width]

    def _paths(self, batch) -> Float[Array, "blocks 2 b"]:
        """0 for a residual branch that is skipped, else 1 / (the probability that it is kept)."""
        count = sum(self.depths)
        keep = 1 - np.linspace(0, self.drop_path, count, dtype=np.float32)[:, None, None]
        return jax.random.bernoulli(self.make_rng("dropout"), keep, (count, 2, batch)) / keep
