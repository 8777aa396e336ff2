"""Depthwise convolutions as sums of shifted images: values and gradients against plain loops and against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.backbones import depthwise
from dataseg_jax.networks.backbones.efficientnet_lite import stem_convolve

# Batch, height, width, side of the kernel, stride: odd and even sides, one pixel, more images than are unrolled.
CASES = [(2, 6, 9, 3, 1), (3, 7, 8, 3, 2), (1, 9, 6, 5, 1), (2, 8, 7, 5, 2), (2, 1, 2, 5, 2), (12, 5, 3, 3, 1),
         (1, 11, 4, 5, 2)]  # fmt: skip


def make(case, channels=5):
    b, h, w, k, stride = case
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(b, h, w, channels)), rng.normal(size=(k, k, 1, channels))
    return x.astype(np.float32), kernel.astype(np.float32), stride


def by_loops(x, kernel, stride):
    """TensorFlow's definition of SAME: as many outputs as strides fit, the odd pixel of padding at the end."""
    size = len(kernel)
    out = [-(-length // stride) for length in x.shape[1:3]]
    total = [max((o - 1) * stride + size - length, 0) for o, length in zip(out, x.shape[1:3], strict=True)]
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), *((t // 2, t - t // 2) for t in total), (0, 0)))
    y = np.zeros((len(x), *out, x.shape[-1]))
    for i, j in np.ndindex(*out):
        window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
        y[:, i, j] = (window * kernel[:, :, 0]).sum((1, 2))
    return y


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    x, kernel, stride = make(case)
    expected = by_loops(x, kernel, stride)
    for convolve in (depthwise.depthwise, depthwise.grouped):  # The second is what other devices compute.
        y = jax.jit(convolve, static_argnums=2)(x, kernel, stride)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    """Of a random linear function: its gradients follow from the loops, which are linear in each argument."""
    x, kernel, stride = make(case, channels=2)
    direction = np.random.default_rng(1).normal(size=by_loops(x, kernel, stride).shape)

    def ours(x, kernel):
        return (depthwise.depthwise(x, kernel, stride) * direction.astype(np.float32)).sum()

    of_x, of_kernel = jax.jit(jax.grad(ours, (0, 1)))(x, kernel)

    def slope(array, place, value):
        unit = np.zeros_like(array)
        unit[place] = 1
        return (value(unit) * direction).sum()

    for place in np.ndindex(kernel.shape):
        expected = slope(kernel, place, lambda unit: by_loops(x, unit, stride))
        np.testing.assert_allclose(of_kernel[place], expected, rtol=1e-4, atol=1e-4)
    for place in list(np.ndindex(x.shape))[:: max(1, x.size // 40)]:
        expected = slope(x, place, lambda unit: by_loops(unit, kernel, stride))
        np.testing.assert_allclose(of_x[place], expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_adds_the_gradient_of_the_kernel_in_float32():
    x, kernel, stride = make((8, 32, 32, 3, 1), channels=2)
    x = jnp.asarray(np.abs(x) + 1, jnp.bfloat16)  # In bfloat16, a sum of thousands would stop growing.

    def total(kernel):
        return depthwise.depthwise(x, kernel, stride).astype(jnp.float32).sum()

    y = depthwise.depthwise(x, jnp.asarray(kernel, jnp.bfloat16), stride)
    gradient = jax.jit(jax.grad(total))(jnp.asarray(kernel, jnp.bfloat16))
    assert y.dtype == gradient.dtype == jnp.bfloat16
    expected = np.asarray(x, np.float64).sum((0, 1, 2))
    np.testing.assert_allclose(np.asarray(gradient, np.float64)[1, 1, 0], expected, rtol=0.01)


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (1, 1)])
def test_the_stem_is_a_convolution(size):
    rng = np.random.default_rng(2)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((2, *size, 3), (3, 3, 3, 4)))

    def xla(kernel):
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def ours(kernel):
        return stem_convolve(x, kernel, (2, 2), "SAME")

    expected, transposed = jax.vjp(xla, kernel)
    y, ours_transposed = jax.vjp(ours, kernel)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours_transposed(y)[0], transposed(y)[0], rtol=1e-4, atol=1e-4)
