"""Gathers with gradients of their own, against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.primitives.gather import places, take_distinct, take_rows

B, N, M = 3, 7, 5
RNG = np.random.default_rng(0)
DISTINCT = np.stack([RNG.permutation(N)[:M] for _ in range(B)])
ANY = np.array([[0, 0, 3, 6, 0], [2, 2, 2, 2, 2], [0, 1, 2, 3, 4]])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("take, index", [(take_rows, ANY), (take_rows, DISTINCT), (take_distinct, DISTINCT)])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_equals_take_along_axis(take, index, shape, dtype):
    x = jnp.asarray(RNG.normal(size=(B, N, *shape)), dtype)
    bar = jnp.asarray(RNG.integers(-8, 8, (B, M, *shape)), dtype)  # Sums of these are exact in both types.

    def of_numpy(x):
        return jnp.take_along_axis(x, index.reshape(B, M, *(1,) * len(shape)), 1)

    ours, theirs = jax.vjp(lambda x: take(x, index), x), jax.vjp(of_numpy, x)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1](bar)[0], theirs[1](bar)[0])
    assert ours[1](bar)[0].dtype == x.dtype


@pytest.mark.parametrize("take", [take_rows, take_distinct])
def test_values_that_have_no_gradient(take):
    x = RNG.integers(0, 2, (B, N, 2)).astype(bool)
    np.testing.assert_array_equal(take(x, DISTINCT), np.take_along_axis(x, DISTINCT[..., None], 1))


@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_places(count):
    index = np.stack([RNG.permutation(40)[:count] for _ in range(B)]).reshape(B, count)
    expected = np.full((B, 40), count)
    np.put_along_axis(expected, index, np.arange(count), 1)
    np.testing.assert_array_equal(places(jnp.asarray(index, jnp.int32), 40), expected)
