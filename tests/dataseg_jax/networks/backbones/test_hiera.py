"""Hiera by what must not change its result; its values are compared with transformers' in tests/parity/sam2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones import Hiera
from dataseg_jax.networks.backbones.hiera import PooledAttention
from dataseg_jax.networks.primitives import attention
from tests.dataseg_jax.networks.backbones.test_vitdet import random_params

FIELDS = dict(width=8, heads=2, depths=(1, 1, 2, 1), windows=(8, 4, 2, 2), global_blocks=(3,), position_grid=3,
              drop_path=0.4)  # fmt: skip
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return random_params(Hiera(**FIELDS), IMAGES)


def run(params, images=IMAGES, key=None, **change):
    rngs = None if key is None else {"dropout": jax.random.key(key)}
    program = jax.jit(
        lambda params, x: Hiera(**FIELDS | change).apply({"params": params}, x, key is not None, rngs=rngs)
    )
    return jax.device_get(program(params, images))


def test_maps_of_four_strides_and_an_image_alone(params):
    maps = run(params)
    assert [x.shape for x in maps] == [(2, 64 // s, 96 // s, 8 * s // 4) for s in (4, 8, 16, 32)]
    for one, both in zip(run(params, IMAGES[1:]), maps, strict=True):
        np.testing.assert_allclose(one[0], both[1], atol=1e-4)


def test_without_global_blocks_windows_do_not_see_each_other(params):
    """A window of the first stage is one of the second, pooled; pixels reach a place by the patch's own overlap."""
    changed = IMAGES.copy()
    changed[:, 40:, :] += 1  # Below the first row of windows, 32 pixels, and beyond the patches of 7 x 7.
    before, after = (run(params, x, global_blocks=()) for x in (IMAGES, changed))
    for stride, one, other in zip((4, 8), before, after, strict=False):
        np.testing.assert_array_equal(one[:, : 32 // stride], other[:, : 32 // stride])
        assert np.abs(one[:, 32 // stride :] - other[:, 32 // stride :]).max() > 1e-2
    before, after = run(params), run(params, changed)
    assert np.abs(before[2][:, 0] - after[2][:, 0]).max() > 1e-3  # Stage 3 has a global block.


def test_drop_path(params):
    """All branches are kept where the probability is 0; the mean over draws is near the full result."""
    full = run(params)
    for kept, expected in zip(run(params, key=0, drop_path=0.0), full, strict=True):
        np.testing.assert_array_equal(kept, expected)
    one, other = run(params, key=0), run(params, key=1)
    assert np.abs(one[3] - other[3]).max() > 1e-2
    np.testing.assert_allclose(one[0], full[0], atol=1e-5)  # The first block is never dropped.


def test_remat_changes_no_gradient(params):
    """Of the map of stage 2: each block more takes seconds to compile."""

    def loss(params, remat):
        return (Hiera(**FIELDS, remat=remat).apply({"params": params}, IMAGES)[1] ** 2).mean()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain, less = (gradient(params, remat) for remat in (False, True))
    assert np.abs(plain["block_0"]["norm1"]["scale"]).max() > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), plain, less)


@pytest.mark.parametrize("pooled", [False, True])
def test_attention_is_a_loop_over_queries(monkeypatch, pooled):
    """Also where the scores are computed a few queries at a time."""
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 6)).astype(np.float32)
    module = PooledAttention(width=8, heads=2, pooled=pooled, dtype=jnp.float32)
    weights = random_params(module, x)
    qkv = (x @ weights["qkv"]["kernel"] + weights["qkv"]["bias"]).reshape(2, 4, 6, 3, 2, 4)
    q, k, v = np.moveaxis(qkv, 3, 0)
    if pooled:
        q = q.reshape(2, 2, 2, 3, 2, 2, 4).max((2, 4))
    expected = np.zeros((*q.shape[:3], 8), np.float32)
    for b, i, j, head in np.ndindex(*q.shape[:4]):
        scores = (k[b, :, :, head] @ q[b, i, j, head]) / 2
        scores = np.exp(scores - scores.max())
        expected[b, i, j, 4 * head : 4 * head + 4] = np.tensordot(scores / scores.sum(), v[b, :, :, head], 2)
    expected = expected @ weights["proj"]["kernel"] + weights["proj"]["bias"]
    np.testing.assert_allclose(module.apply({"params": weights}, x), expected, atol=1e-5)
    split = attention.attend_in_chunks
    monkeypatch.setattr(
        "dataseg_jax.networks.backbones.hiera.attend_in_chunks", lambda q, k, v: split(q, k, v, at_once=99)
    )
    np.testing.assert_allclose(module.apply({"params": weights}, x), expected, atol=1e-5)


def test_layers_for_decay(params):
    module = Hiera(**FIELDS)
    layers = {name: module.layer_of(f"{name}/kernel") for name in params}
    assert layers == {"patch_embed": 0, "position_embedding": 0, "window_embedding": 0,
                      **{f"block_{i}": i + 1 for i in range(5)}}  # fmt: skip
    assert module.layers == 6


def test_sides_that_do_not_fit(params):
    with pytest.raises(InputError, match="images of 64 x 80: sides must be multiples of 32"):
        run(params, IMAGES[:, :, :80])
