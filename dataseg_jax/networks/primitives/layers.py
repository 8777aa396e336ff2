"""Layers that the pixel decoder and the mask decoder share: attention, feed-forward, sine positions."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from dataseg_jax.networks.primitives.attention import attend
from dataseg_jax.networks.primitives.products import Dense

xavier = nn.initializers.xavier_uniform()


class Attention(nn.Module):
    """Multi-head attention with separate inputs for queries, keys and values; softmax in float32."""

    width: int
    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, query, key, value, mask=None, bias=None):
        """[B, Q, C], [B, S, C], [B, S, C], mask bool [B, Q, S] (True = may attend) -> [B, Q, C].

        `bias`, [B, heads, Q, S], is added to the logits.
        """

        def project(x, name):
            x = Dense(self.width, kernel_init=xavier, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:-1], self.heads, self.width // self.heads)

        mask = None if mask is None else mask[:, None]
        q, k, v = project(query, "q"), project(key, "k"), project(value, "v")
        x = attend(q, k, v, mask=mask, bias=bias)
        return Dense(self.width, kernel_init=xavier, dtype=self.dtype, name="out")(x.reshape(query.shape))


class FeedForward(nn.Module):
    """Two linear layers with GELU between (paper 4: GELU instead of MaskFormer's ReLU)."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        y = Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="up")(x)
        return Dense(x.shape[-1], kernel_init=xavier, dtype=self.dtype, name="down")(nn.gelu(y, approximate=False))


class MLP(nn.Module):
    """`depth` linear layers with ReLU between, as the mask-embedding head of MaskFormer."""

    width: int
    out: int
    depth: int = 3
    dtype: jnp.dtype = jnp.float32
    out_scale: float = 1.0  # Of the variance that the last layer starts with; 0: it starts as zeros.

    @nn.compact
    def __call__(self, x):
        for i in range(self.depth - 1):
            x = nn.relu(Dense(self.width, dtype=self.dtype, name=f"layer_{i}")(x))
        scaled = nn.initializers.variance_scaling(self.out_scale or 1.0, "fan_in", "truncated_normal")
        init = scaled if self.out_scale else nn.initializers.zeros
        return Dense(self.out, dtype=self.dtype, kernel_init=init, name=f"layer_{self.depth - 1}")(x)


def layer_norm(name: str, dtype, epsilon: float = 1e-5) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=epsilon, dtype=dtype, name=name)


def sine_positions(height: int, width: int, channels: int) -> np.ndarray:
    """DETR's sine position code, float32 [height, width, channels]: half for y, half for x, T = 1e4, 2 pi per side."""
    half = channels // 2
    frequency = 1e4 ** (2 * (np.arange(half) // 2) / half)

    def code(length):
        position = np.arange(1, length + 1) / (length + 1e-6) * 2 * np.pi
        angle = position[:, None] / frequency
        return np.stack([np.sin(angle[:, 0::2]), np.cos(angle[:, 1::2])], -1).reshape(length, half)

    y = np.broadcast_to(code(height)[:, None], (height, width, half))
    x = np.broadcast_to(code(width)[None], (height, width, half))
    return np.concatenate([y, x], -1).astype(np.float32)
