"""Our convolutions beside flax's own: the same parameters, values and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.convolution import Convolution, Pointwise

PAIRS = {
    "size 3": (Convolution(5), nn.Conv(5, (3, 3))),
    "size 5, no bias": (Convolution(4, 5, use_bias=False), nn.Conv(4, (5, 5), use_bias=False)),
    "size 1": (Convolution(4, 1), nn.Conv(4, (1, 1))),
    "pointwise": (Pointwise(5), nn.Conv(5, (1, 1))),
    "pointwise, stride 2": (Pointwise(5, 2, use_bias=False), nn.Conv(5, (1, 1), 2, use_bias=False)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", [(2, 6, 9, 3), (1, 1, 2, 3)])
def test_equals_flax(name, shape):
    ours, theirs = PAIRS[name]
    x = jax.random.normal(jax.random.key(0), shape)
    params = theirs.init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, params)

    def value_and_gradients(module):
        def loss(params, x):
            y = module.apply(params, x)
            return (jnp.sin(y) * jnp.arange(y.size).reshape(y.shape)).sum(), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    found, right = value_and_gradients(ours), value_and_gradients(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, right)


def test_bfloat16_rounds_where_flax_does():
    ours, theirs = Convolution(5, dtype=jnp.bfloat16), nn.Conv(5, (3, 3), dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (2, 6, 9, 3))
    params = theirs.init(jax.random.key(1), x)
    found, right = ours.apply(params, x), theirs.apply(params, x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(np.float32), right.astype(np.float32))


def test_gradients_of_an_accelerator_are_convolutions():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))
    gradient = jax.jit(
        jax.grad(lambda x, k: Convolution(2, use_bias=False).apply({"params": {"kernel": k}}, x).sum(), 1)
    )
    counts = {
        platform: gradient.trace(x, kernel)
        .lower(lowering_platforms=(platform,))
        .as_text()
        .count("stablehlo.dot_general")
        for platform in ("cpu", "cuda")
    }
    assert counts == {"cpu": 9, "cuda": 0}
