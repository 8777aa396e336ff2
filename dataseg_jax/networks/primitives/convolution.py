"""Convolutions as matrix products: the same parameters and values, with less time on a CPU.

The gradient of a convolution's kernel is itself a convolution, whose kernel is the whole feature map. For that XLA on a
CPU takes three to ten times as long as for the equivalent matrix products. `convolve` is for
`nn.Conv(conv_general_dilated=convolve)`, `Doubling` a transposed convolution.

What becomes a product has its kernel's gradient added up in float32, over all devices, as dense layers have. Those of
the other kernels are in the type of the computation: whether cuDNN takes bfloat16 to float32 there has not been tried.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dataseg_jax.networks.primitives.products import weighted


def convolve(x, kernel, strides, padding, **others):
    """[B, H, W, C], [h, w, C, D] -> [B, H', W', D], as `jax.lax.conv_general_dilated` with the arguments of `nn.Conv`.

    1x1 kernels, those of patches side by side, and odd ones that keep height and width are faster; the others are
    passed on. Not faster: odd kernels of few channels, as the 3x3 inside a ResNet's blocks.
    """
    plain = others["feature_group_count"] == 1 and others["precision"] is None
    plain &= set(others["lhs_dilation"]) | set(others["rhs_dilation"]) == {1}
    height, width = kernel.shape[:2]
    if plain and height == width == 1:
        return _product(x[:, :: strides[0], :: strides[1]], kernel)
    if plain and tuple(strides) == (height, width) and padding == "VALID":
        return _patches(x, kernel)
    if plain and height % 2 and width % 2 and set(strides) == {1} and padding == "SAME":
        return _convolve_same(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **others)


def _product(x, kernel):
    """A 1x1 kernel as a product of two matrices: with pixels on several axes, its gradient took six times as long."""
    return weighted(x.reshape(-1, x.shape[-1]), kernel[0, 0]).reshape(*x.shape[:-1], kernel.shape[-1])


def _patches(x, kernel):
    """Patches of the kernel's size, side by side, as a product of two matrices; what does not fill one is left out."""
    b, (height, width, channels, features) = x.shape[0], kernel.shape  # b may be a symbol, which `len` does not take.
    rows, columns = x.shape[1] // height, x.shape[2] // width
    x = x[:, : rows * height, : columns * width].reshape(b, rows, height, columns, width, channels).swapaxes(2, 3)
    x = x.reshape(b * rows * columns, height * width * channels)
    return weighted(x, kernel.reshape(-1, features)).reshape(b, rows, columns, features)


class Doubling(nn.Module):
    """`nn.ConvTranspose(features, (2, 2), (2, 2), "VALID")`: every cell becomes 2 x 2 cells, by one product.

    As a convolution it runs over a map with zeros between the cells.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        """[B, h, w, C] -> [B, 2 h, 2 w, features]."""
        b, h, w, channels = x.shape
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (2, 2, channels, self.features)).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        # Flax does not turn the kernel around, as the transpose of a convolution would: its last row is the first here.
        matrix = kernel[::-1, ::-1].transpose(2, 0, 1, 3).reshape(channels, -1)
        cells = weighted(x.astype(self.dtype).reshape(-1, channels), matrix).reshape(b, h, w, 2, 2, -1) + bias
        return cells.swapaxes(2, 3).reshape(b, 2 * h, 2 * w, -1)


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
