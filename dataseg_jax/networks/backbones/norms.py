"""Norms of convolutional backbones: the statistics of pre-training, or groups for training from scratch."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class FrozenBatchNorm(nn.Module):
    """Batch norm as a fixed affine map, with the statistics of pre-training. Its parameters are never updated."""

    zero_scale: bool = False  # Only for the interface: frozen weights are loaded, not initialised.
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        def frozen(name, value):
            return jax.lax.stop_gradient(self.param(name, nn.initializers.constant(value), x.shape[-1:], jnp.float32))

        scale = frozen("frozen_scale", 1.0) * jax.lax.rsqrt(frozen("frozen_var", 1.0) + self.epsilon)
        shift = frozen("frozen_bias", 0.0) - frozen("frozen_mean", 0.0) * scale
        # In float32: with a mean of 20 deviations, scale and shift rounded to bfloat16 are wrong by 6% of a deviation.
        return (x.astype(jnp.float32) * scale + shift).astype(self.dtype)


class GroupNorm(nn.Module):
    """Group norm, for training from scratch with small batches; at least 8 channels a group, at most 32 groups."""

    zero_scale: bool = False
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        init = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
        most = min(32, max(1, x.shape[-1] // 8))
        groups = next(n for n in range(most, 0, -1) if x.shape[-1] % n == 0)
        return nn.GroupNorm(groups, epsilon=self.epsilon, scale_init=init, dtype=self.dtype, name="gn")(x)


NORMS = {"group": GroupNorm, "frozen_batch": FrozenBatchNorm}
