"""Resizing, against JAX and flax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.primitives.resize import bilinear, largest_of_four, nearest

RNG = np.random.default_rng(0)


def assert_same(ours, theirs, x, exact=True):
    """Values and gradients."""
    (value, back), (expected, expected_back) = jax.vjp(ours, x), jax.vjp(theirs, x)
    bar = jnp.asarray(RNG.integers(-8, 8, value.shape), x.dtype)
    for a, b in ((value, expected), (back(bar)[0], expected_back(bar)[0])):
        np.testing.assert_allclose(a, b, atol=0 if exact else 1e-6 * np.abs(b).max(), rtol=0)


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
@pytest.mark.parametrize("kinds", [3, 1000])
def test_the_largest_of_four(size, kinds):
    """With few kinds of values many are equal, and the first of them has the gradient."""
    x = jnp.asarray(RNG.integers(-kinds, kinds, (2, *size, 3)), jnp.float32)
    assert_same(largest_of_four, lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)


@pytest.mark.parametrize("place", list(np.ndindex(2, 2)))
def test_the_largest_of_four_hides_no_nan(place):
    x = np.zeros((1, 2, 2, 1), np.float32)
    x[0, *place] = np.nan
    assert np.isnan(largest_of_four(jnp.asarray(x))).all()


@pytest.mark.parametrize("size", [(10, 14), (5, 7), (9, 13), (15, 8), (3, 4)])
def test_nearest(size):
    x = jnp.asarray(RNG.integers(-9, 9, (2, 5, 7, 3)), jnp.float32)
    assert_same(lambda x: nearest(x, size), lambda x: jax.image.resize(x, (2, *size, 3), "nearest"), x)


@pytest.mark.parametrize("size", [(10, 14), (20, 28), (40, 7), (15, 21), (5, 14), (9, 13), (5, 7)])
def test_bilinear_enlarges(size):
    x = jnp.asarray(RNG.normal(size=(2, 5, 7, 3)), jnp.float32)
    expected = functools.partial(jax.image.resize, shape=(2, *size, 3), method="bilinear", antialias=False)
    assert_same(lambda x: bilinear(x, size), expected, x, exact=False)


@pytest.mark.parametrize("size", [(12, 8), (6, 4), (3, 2), (4, 24), (8, 3), (1, 1), (48, 2), (7, 5)])
def test_bilinear_reduces(size):
    x = jnp.asarray(RNG.normal(size=(2, 24, 16 if size[1] != 3 else 15, 3)), jnp.float32)
    expected = functools.partial(jax.image.resize, shape=(2, *size, 3), method="bilinear", antialias=False)
    assert_same(lambda x: bilinear(x, size), expected, x, exact=False)


def test_bilinear_in_bfloat16():
    """No further from the exact values than JAX's own."""
    x = jnp.asarray(RNG.normal(size=(1, 8, 8, 4)), jnp.bfloat16)
    for size in ((32, 32), (4, 4), (64, 64)):
        resized = functools.partial(jax.image.resize, shape=(1, *size, 4), method="bilinear", antialias=False)
        exact = resized(x.astype(jnp.float32))
        errors = [np.abs(np.asarray(y, np.float32) - exact).max() for y in (bilinear(x, size), resized(x))]
        assert errors[0] <= 1.5 * errors[1] < 0.05
