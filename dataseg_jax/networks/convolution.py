"""A convolution for `nn.Conv(conv_general_dilated=convolve)`: the same values, with a faster gradient on a CPU.

The gradient of a convolution's kernel is itself a convolution, whose kernel is the whole feature map. For that XLA on a
CPU takes three to ten times as long as for the equivalent matrix products.
"""

import jax
import jax.numpy as jnp
import numpy as np


def convolve(x, kernel, strides, padding, **others):
    """[B, H, W, C], [h, w, C, D] -> [B, H', W', D], as `jax.lax.conv_general_dilated` with the arguments of `nn.Conv`.

    1x1 kernels, and odd ones that keep height and width, have fast gradients; the others are passed on. Not faster: odd
    kernels of few channels, as the 3x3 inside a ResNet's blocks.
    """
    plain = others["feature_group_count"] == 1 and others["precision"] is None
    plain &= set(others["lhs_dilation"]) | set(others["rhs_dilation"]) == {1}
    height, width = kernel.shape[:2]
    if plain and height == width == 1:
        return _product(x[:, :: strides[0], :: strides[1]], kernel)
    if plain and height % 2 and width % 2 and set(strides) == {1} and padding == "SAME":
        return _convolve_same(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **others)


def _product(x, kernel):
    """A 1x1 kernel as a product of two matrices: with pixels on several axes, its gradient took six times as long."""
    return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])


def _convolve(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def _convolve_same(x, kernel):
    """[B, H, W, C], [odd, odd, C, D] -> [B, H, W, D], stride 1.

    On a CPU the kernel's gradient is one matrix product per position of the kernel. As a convolution it was a third of
    a ResNet-50's whole step.
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
            # XLA would fuse the shift into the product and make it slow.
            return jax.lax.optimization_barrier(shifted).T @ gradient

        return jnp.stack([product(*place) for place in np.ndindex(kernel.shape[:2])]).reshape(kernel.shape)

    of_kernel = jax.lax.platform_dependent(x, gradient, cpu=as_products, default=as_convolution)
    (of_x,) = jax.linear_transpose(lambda x: _convolve(x, kernel), x)(gradient)
    return of_x, of_kernel


_convolve_same.defvjp(_forward, _backward)
