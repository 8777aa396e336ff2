"""Convolutions with `nn.Conv`'s parameters and values, whose kernel's gradient a CPU is not slow at."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Pointwise(nn.Module):
    """A 1x1 convolution, with `nn.Conv`'s parameters, as a product of matrices over the places it keeps.

    The same values; but the gradient of a convolution's kernel is itself a convolution, whose kernel is the whole map,
    and XLA for a CPU takes up to ten times as long for that as for the product of two matrices.
    """

    features: int
    stride: int = 1
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        kernel = self.param("kernel", self.kernel_init, (1, 1, x.shape[-1], self.features), jnp.float32)
        x = x[:, :: self.stride, :: self.stride].astype(self.dtype)
        # As two matrices: with places on several axes, the kernel's gradient took six times as long on a CPU.
        places = x.shape[:-1]
        x = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0].astype(self.dtype)).reshape(*places, self.features)
        if not self.use_bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)


class Convolution(nn.Module):
    """A square convolution of odd size that keeps height and width, with `nn.Conv`'s parameters and values."""

    features: int
    size: int = 3
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[B, H, W, C] -> [B, H, W, features]."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        x = convolution_same(x.astype(self.dtype), kernel.astype(self.dtype))
        if not self.use_bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)


def _convolve(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def convolution_same(x, kernel):
    """[B, H, W, C], [odd, odd, C, D] -> [B, H, W, D], stride 1.

    On a CPU the kernel's gradient is a product of matrices for each of the kernel's places. As the convolution that it
    else is, XLA took three times as long for it at 128x128 with 256 channels: a third of a ResNet-50's whole step.
    """
    return _convolve(x, kernel)


def _forward(x, kernel):
    return _convolve(x, kernel), (x, kernel)


def _backward(saved, gradient):
    x, kernel = saved

    def as_convolution(x, gradient):
        return jax.linear_transpose(lambda kernel: _convolve(x, kernel), kernel)(gradient)[0]

    def as_products(x, gradient):
        height, width, channels = x.shape[1:]
        up, left = kernel.shape[0] // 2, kernel.shape[1] // 2
        padded = jnp.pad(x, ((0, 0), (up, up), (left, left), (0, 0)))
        gradient = gradient.reshape(-1, gradient.shape[-1])

        def product(i, j):
            shifted = padded[:, i : i + height, j : j + width].reshape(-1, channels)
            # XLA would work the shift into the product, which is then a slow one.
            return jax.lax.optimization_barrier(shifted).T @ gradient

        return jnp.stack([product(*place) for place in np.ndindex(kernel.shape[:2])]).reshape(kernel.shape)

    of_kernel = jax.lax.platform_dependent(x, gradient, cpu=as_products, default=as_convolution)
    (of_x,) = jax.linear_transpose(lambda x: _convolve(x, kernel), x)(gradient)
    return of_x, of_kernel


convolution_same.defvjp(_forward, _backward)
