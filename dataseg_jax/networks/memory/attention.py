"""Memory attention: the features of a frame attend to themselves and to the memory bank (SAM 2, section 4).

O objects, S cells of the frame, T tokens of the bank, C channels of the features, D of the bank's tokens.
"""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dataseg_jax.networks.memory.rope import rotate, rotations
from dataseg_jax.networks.primitives.attention import attend_in_chunks
from dataseg_jax.networks.primitives.layers import MLP, layer_norm, sine_positions, xavier

# ours: queries per product. At the published size the weights of one object are 470 MB otherwise. On a CPU 1024 take
# more time than 256 do.
QUERIES = 256


class RotaryAttention(nn.Module):
    """Attention of one head with rotary positions; softmax in float32."""

    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, query, key, value, grid: tuple[int, int], rotated: int, valid=None):
        """[O, S, C], [O, T, D] twice -> [O, S, C].

        Args:
          query: of the cells of `grid` (height, width).
          key, value: the first `rotated` of them are of one such grid or of several, one after the other; the others
            have no place.
          valid: bool [O, T] of the keys; a row with none of them is undefined.
        """

        def project(x, name):
            return nn.Dense(self.width, kernel_init=xavier, dtype=self.dtype, name=name)(x)

        q, k, v = project(query, "q"), project(key, "k"), project(value, "v")
        turns = rotations(*grid, self.width)
        q = rotate(q, *turns)
        o, cells = len(k), math.prod(grid)
        placed = rotate(k[:, :rotated].reshape(o, -1, cells, self.width), *turns).reshape(o, rotated, self.width)
        k = jnp.concatenate([placed, k[:, rotated:]], 1)
        one_head = (part[:, :, None] for part in (q, k, v))
        mask = None if valid is None else valid[:, None, None]
        x = attend_in_chunks(*one_head, mask=mask, at_once=QUERIES * k.shape[1])[:, :, 0]
        return nn.Dense(query.shape[-1], kernel_init=xavier, dtype=self.dtype, name="out")(x)


class MemoryLayer(nn.Module):
    """Pre-norm self-attention, attention to the bank, MLP with ReLU; dropout after each, in training."""

    ffn: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, tokens, positions, valid, grid, rotated: int, train: bool):
        """Features [O, S, C] and the bank's tokens [O, T, D] -> features."""
        width = x.shape[-1]

        def dropped(y):
            return nn.Dropout(self.dropout, deterministic=not train)(y)

        y = layer_norm("norm1", self.dtype)(x)
        own = RotaryAttention(width, self.dtype, name="self_attention")
        x = x + dropped(own(y, y, y, grid, x.shape[1]))
        y = layer_norm("norm2", self.dtype)(x)
        to_bank = RotaryAttention(width, self.dtype, name="cross_attention")
        x = x + dropped(to_bank(y, tokens + positions, tokens, grid, rotated, valid))
        y = layer_norm("norm3", self.dtype)(x)
        return x + dropped(MLP(self.ffn, width, 2, self.dtype, name="mlp")(y))


class MemoryAttention(nn.Module):
    """Features of a frame -> the same, conditioned on the bank of every object.

    Attributes:
      layers, ffn: of the transformer.
      dropout: after every part of a layer, in training (rng "dropout").
    """

    layers: int = 4
    ffn: int = 2048
    dropout: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "o h w c"],
        tokens: Float[Array, "o t d"],
        positions: Float[Array, "o t d"],
        valid: Bool[Array, "o t"],
        rotated: int,
        train: bool = False,
    ) -> Float[Array, "o h w c"]:
        """The first `rotated` tokens are cells of memories of the features' size; the others are pointers."""
        o, h, w, c = features.shape
        x = features + 0.1 * sine_positions(h, w, c)
        x = x.reshape(o, h * w, c).astype(self.dtype)
        tokens, positions = tokens.astype(self.dtype), positions.astype(self.dtype)
        for i in range(self.layers):
            layer = MemoryLayer(self.ffn, self.dropout, self.dtype, name=f"layer_{i}")
            x = layer(x, tokens, positions, valid, (h, w), rotated, train)
        return layer_norm("last_norm", self.dtype)(x).reshape(o, h, w, c)
