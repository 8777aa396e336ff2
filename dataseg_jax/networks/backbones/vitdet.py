"""ViTDet [39]: a plain vision transformer that attends within windows, and across the image in a few blocks."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones.grid_attention import GridAttention, resize_positions, small_normal
from dataseg_jax.networks.primitives import remat
from dataseg_jax.networks.primitives.convolution import convolve
from dataseg_jax.networks.primitives.layers import layer_norm
from dataseg_jax.networks.primitives.placement import by_image, gathered
from dataseg_jax.networks.primitives.products import Dense


class MLP(nn.Module):
    """Two linear layers with exact GELU between."""

    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        y = Dense(self.hidden, dtype=self.dtype, kernel_init=small_normal, name="fc1")(x)
        y = nn.gelu(y, approximate=False)
        return Dense(x.shape[-1], dtype=self.dtype, kernel_init=small_normal, name="fc2")(y)


def to_windows(x: Float[Array, "b h w c"], window: int) -> Float[Array, "b*n s s c"]:
    """Cuts the grid into windows, row by row. The grid is padded with zeros at the bottom and right, which are
    attended to, as in the reference, with which pretrained weights were trained."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, -h % window), (0, -w % window), (0, 0)))
    x = x.reshape(b, x.shape[1] // window, window, x.shape[2] // window, window, c)
    return x.swapaxes(2, 3).reshape(-1, window, window, c)


def from_windows(windows: Float[Array, "b*n s s c"], height: int, width: int) -> Float[Array, "b h w c"]:
    """The inverse of `to_windows`."""
    size, c = windows.shape[2:]
    rows, columns = -(-height // size), -(-width // size)
    x = windows.reshape(-1, rows, columns, size, size, c).swapaxes(2, 3)
    return x.reshape(-1, rows * size, columns * size, c)[:, :height, :width]


class Block(nn.Module):
    """A pre-norm transformer block; `window` 0 attends across the image."""

    heads: int
    hidden: int
    window: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, paths=None):
        """[B, h, w, C] -> [B, h, w, C]; `paths` [2, B] scales each image's two residual branches (drop path)."""

        def add(x, y, branch):
            return x + (y if paths is None else y * paths[branch, :, None, None, None].astype(y.dtype))

        y = layer_norm("norm1", self.dtype, 1e-6)(x)
        y = to_windows(y, self.window) if self.window else y
        y = GridAttention(self.heads, self.dtype, name="attention")(y)
        x = add(x, from_windows(y, *x.shape[1:3]) if self.window else y, 0)
        return add(x, MLP(self.hidden, self.dtype, name="mlp")(layer_norm("norm2", self.dtype, 1e-6)(x)), 1)


class ViTDet(nn.Module):
    """A vision transformer for dense prediction; defaults are ViTDet-B.

    Raises `InputError` when it is made with fields that do not fit together.

    Attributes:
      width, depth, heads: 768, 12, 12 (L: 1024, 24, 16).
      window: side of the windows, in patches.
      global_blocks: the blocks that attend across the image (L: 5, 11, 17, 23).
      patch: side of a patch in pixels.
      pretrain_grid: side of the grid of absolute positions (14: images of 224), resized to the input's.
      mlp_ratio: hidden width of the MLPs over `width`.
      drop_path: probability that training skips a residual branch of the last block; grows linearly from 0 (L: 0.4).
      remat: store only the blocks' inputs for the backward pass, and compute the rest again.
      remat_keeps: what else is stored with `remat`, a key of `remat.KEPT`.
      scan: compile one group of windowed blocks and their global block, and loop over the groups. Same parameters.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    global_blocks: Sequence[int] = (2, 5, 8, 11)
    patch: int = 16
    pretrain_grid: int = 14
    mlp_ratio: float = 4
    drop_path: float = 0.1
    remat: bool = False
    remat_keeps: str = "inputs"
    scan: bool = False
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise InputError(f"model.backbone.width={self.width}: it must be a multiple of its {self.heads} heads")
        if not set(self.global_blocks) <= set(range(self.depth)):
            raise InputError(
                f"model.backbone.global_blocks={tuple(self.global_blocks)}: each must be 0 to {self.depth - 1}"
            )
        if not 0 <= self.drop_path < 1:
            raise InputError(f"model.backbone.drop_path={self.drop_path}: it must be at least 0 and below 1")
        if self.scan and self.period == self.depth:
            raise InputError(
                f"model.backbone.scan=True: the {self.depth} blocks with global_blocks={tuple(self.global_blocks)} do "
                "not form equal groups; use scan=False, or end each of several equal groups with a global block"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of every feature map that is returned: one."""
        return (self.patch,)

    @property
    def period(self) -> int:
        """Blocks in the shortest group that repeats to form the whole; `depth` if none does."""
        is_global = [i in self.global_blocks for i in range(self.depth)]
        divisors = (n for n in range(1, self.depth + 1) if self.depth % n == 0)
        return next(n for n in divisors if is_global == is_global[:n] * (self.depth // n))

    @property
    def layers(self) -> int:
        """For layer-wise decay: the embedding is 0, block i is i + 1, whatever follows the blocks is the last [39]."""
        return self.depth + 1

    def layer_of(self, name: str) -> int:
        """The layer of a parameter by its path below the backbone, "block_3/mlp/fc1/kernel"."""
        part = name.partition("/")[0]
        if part.startswith("block_"):
            return int(part.removeprefix("block_")) + 1
        return 0 if part in ("patch_embed", "position_embedding") else self.layers

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Normalised images [B, H, W, 3] -> [one map [B, H / patch, W / patch, width]].

        Raises:
          InputError: a side is not a multiple of the patch.
        """
        if x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise InputError(f"images of {x.shape[1]} x {x.shape[2]}: sides must be multiples of {self.patch}")
        patches = functools.partial(nn.Conv, dtype=self.dtype, conv_general_dilated=convolve)
        x = patches(self.width, (self.patch,) * 2, self.patch, "VALID", name="patch_embed")(x)
        grid = (1, self.pretrain_grid, self.pretrain_grid, self.width)
        positions = self.param("position_embedding", small_normal, grid)
        x = x + resize_positions(positions[0], *x.shape[1:3]).astype(self.dtype)
        paths = self._paths(len(x)) if train and self.drop_path else None
        if self.scan and not self.is_initializing():
            return [self._scan(x, paths)]
        block = remat.blocks(Block, self.remat, self.remat_keeps)
        for i in range(self.depth):
            x = by_image(block(*self._fields(i), name=f"block_{i}")(x, None if paths is None else paths[i]))
        return [x]

    def _fields(self, block):
        window = 0 if block in self.global_blocks else self.window
        return self.heads, int(self.width * self.mlp_ratio), window, self.dtype

    def _paths(self, batch) -> Float[Array, "depth 2 b"]:
        """0 for a residual branch that is skipped, else 1 / (the probability that it is kept)."""
        keep = 1 - np.linspace(0, self.drop_path, self.depth, dtype=np.float32)[:, None, None]
        return jax.random.bernoulli(self.make_rng("dropout"), keep, (self.depth, 2, batch)) / keep

    def _scan(self, x, paths):
        """All blocks as a loop over equal groups. Parameters are stored apart and stacked here, inside the program."""

        def apply(block):
            def run(params, x, paths):
                return by_image(block.apply({"params": gathered(params)}, x, paths))

            kept = remat.policy(self.remat_keeps)
            return jax.checkpoint(run, prevent_cse=False, policy=kept) if self.remat else run

        blocks = [apply(Block(*self._fields(i), parent=None)) for i in range(self.period)]
        params = [_kernels_as(self.variables["params"][f"block_{i}"], self.dtype) for i in range(self.depth)]

        def group(x, slices):
            for block, (params, paths) in zip(blocks, slices, strict=True):
                x = block(params, x, paths)
            return x, None

        stacked = [
            (
                jax.tree.map(lambda *leaves: jnp.stack(leaves), *params[i :: self.period]),
                None if paths is None else paths[i :: self.period],
            )
            for i in range(self.period)
        ]
        return jax.lax.scan(group, x, stacked)[0]


def _kernels_as(params, dtype):
    """The kernels in the dtype of the computation, so that their stack is no larger than needed."""
    return jax.tree_util.tree_map_with_path(lambda path, x: x.astype(dtype) if path[-1].key == "kernel" else x, params)
