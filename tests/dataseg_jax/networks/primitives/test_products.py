"""Dense layers: flax's values and gradients, with a kernel's gradient summed in float32."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.primitives.products import Dense

X = jax.random.normal(jax.random.key(0), (3, 50, 8))


def value_and_gradients(module, params, x):
    weights = jnp.cos(jnp.arange(6.0))

    def loss(params, x):
        y = module.apply(params, x)
        return (y.astype(jnp.float32) * weights).sum(), y

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)


def test_equals_flax():
    ours, theirs = Dense(6), nn.Dense(6)
    params = theirs.init(jax.random.key(1), X)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), X), params)
    found, right = (value_and_gradients(module, params, X) for module in (ours, theirs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, right)


def test_the_gradient_of_a_kernel_is_summed_in_float32():
    """And rounded once: as exact as bfloat16 is."""
    module = Dense(6, dtype=jnp.bfloat16)
    params = module.init(jax.random.key(1), X)
    program = jax.jit(lambda params, x: value_and_gradients(module, params, x)).lower(params, X).as_text()
    assert "(tensor<3x50x8xbf16>, tensor<3x50x6xbf16>) -> tensor<8x6xf32>" in program
    (_, y), (gradient, of_x) = value_and_gradients(module, params, X)
    assert y.dtype == jnp.bfloat16 and of_x.dtype == jnp.float32
    rounded = np.asarray(X.astype(jnp.bfloat16), np.float64).reshape(-1, 8)
    bar = np.asarray(jnp.cos(jnp.arange(6.0)).astype(jnp.bfloat16), np.float64)
    expected = np.outer(rounded.sum(0), bar)
    np.testing.assert_allclose(gradient["params"]["kernel"], expected, rtol=2**-8, atol=0)


@pytest.mark.parametrize("axes", [(), (2,), (2, 3)])
def test_any_leading_axes(axes):
    x = jax.random.normal(jax.random.key(2), (*axes, 8))
    params = nn.Dense(6).init(jax.random.key(1), x)
    found, right = (value_and_gradients(module, params, x) for module in (Dense(6), nn.Dense(6)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, right)
