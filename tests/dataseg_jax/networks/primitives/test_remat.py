"""What rematerialised blocks keep: nothing but memory and time depends on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones import ViTDet
from dataseg_jax.networks.primitives import remat

FIELDS = dict(width=16, depth=2, heads=2, window=2, global_blocks=(1,), patch=4, pretrain_grid=2, drop_path=0.0)
IMAGES = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
WAYS = {
    "none": {},
    "inputs": dict(remat=True),
    "products": dict(remat=True, remat_keeps="products"),
}


def gradient_of(**fields):
    return jax.grad(lambda params: (ViTDet(**FIELDS, **fields).apply({"params": params}, IMAGES)[0] ** 2).sum())


@pytest.fixture(scope="module")
def params():
    drawn = ViTDet(**FIELDS).init(jax.random.key(0), IMAGES)["params"]
    return jax.tree.map(lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size)).reshape(x.shape), drawn)


def products(params, **fields):
    """How many products the gradient takes."""
    return str(jax.make_jaxpr(gradient_of(**fields))(params)).count("dot_general")


def test_the_gradient_is_the_same(params):
    expected, *others = (jax.jit(gradient_of(**fields))(params) for fields in WAYS.values())
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), other, expected)


def test_what_is_kept_is_not_computed_again(params):
    """Both blocks have four dense layers, of which the last serves nothing but the result. Of attention with relative
    positions the products of queries and keys, rows and columns are computed again, but not that with the values."""
    counts = {name: products(params, **fields) for name, fields in WAYS.items()}
    assert counts["inputs"] - counts["none"] == 2 * (3 + 4)
    assert counts["products"] - counts["none"] == 2 * 3


def test_a_policy_that_does_not_exist(params):
    with pytest.raises(InputError, match="remat_keeps='outputs': it is one of inputs, products"):
        gradient_of(remat=True, remat_keeps="outputs")(params)
    assert remat.policy("inputs") is None
