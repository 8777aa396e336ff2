"""Swin's parts against plain loops; its agreement with transformers is in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones.swin import Block, PatchMerging, Swin, _offsets, _same_region

FIELDS = dict(width=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 2), window=4)


def test_offsets_are_one_row_for_each_step():
    table = _offsets(3)
    for a, b in np.ndindex(9, 9):
        (ya, xa), (yb, xb) = divmod(a, 3), divmod(b, 3)
        assert table[a, b] == (ya - yb + 2) * 5 + xa - xb + 2


def test_places_of_a_shifted_window_see_their_neighbours_alone():
    """Numbers of the grid, rolled and cut: two places see each other if they lay within one window's reach before."""
    height, width, window, shift = 8, 12, 4, 2
    y, x = np.mgrid[:height, :width]
    rolled = [np.roll(axis, (-shift, -shift), (0, 1)) for axis in (y, x)]
    allowed = iter(_same_region(height, width, window, shift))
    for top in range(0, height, window):
        for left in range(0, width, window):
            part = [axis[top : top + window, left : left + window].ravel() for axis in rolled]
            near = [np.abs(axis[:, None] - axis) < window for axis in part]
            np.testing.assert_array_equal(next(allowed), near[0] & near[1])


@pytest.mark.parametrize("shift", [0, 2])
def test_a_block_reads_one_window(shift):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 8, 8, 8)).astype(np.float32)
    block = Block(2, 4, shift, jnp.float32)
    run, params = jax.jit(block.apply), block.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), params)
    other = x.copy()
    other[0, 3, 3] += rng.normal(size=8)  # Not a constant, which the norm takes out.
    moved = np.abs(run(params, other) - run(params, x)).max((0, 3)) > 1e-6
    low, high = (0, 4) if shift == 0 else (2, 6)
    expected = np.zeros((8, 8), bool)
    expected[low:high, low:high] = True
    np.testing.assert_array_equal(moved, expected)


def test_merging_takes_two_by_two_places():
    x = np.arange(3 * 4 * 2, dtype=np.float32).reshape(1, 3, 4, 2)
    module = PatchMerging(jnp.float32)
    params = module.init(jax.random.key(0), x)
    kernel = params["params"]["reduction"]["kernel"]
    out = module.apply(params, x)
    assert out.shape == (1, 2, 2, 4)
    for i, j in np.ndindex(2, 2):
        places = [(2 * i, 2 * j), (2 * i + 1, 2 * j), (2 * i, 2 * j + 1), (2 * i + 1, 2 * j + 1)]
        row = np.concatenate([x[0, r, c] if r < 3 else np.zeros(2) for r, c in places])
        row = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
        np.testing.assert_allclose(out[0, i, j], row @ kernel, atol=1e-5)


def test_the_whole_network():
    x = np.random.default_rng(1).normal(size=(2, 70, 50, 3)).astype(np.float32)
    plain, params = jax.jit(Swin(**FIELDS).init_with_output)(jax.random.key(0), x)
    assert [m.shape for m in plain] == [(2, 18, 13, 8), (2, 9, 7, 16), (2, 5, 4, 32), (2, 3, 2, 64)]
    other = jax.jit(Swin(**FIELDS, remat=True).apply)(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, other)

    def trained(key):
        model = Swin(**FIELDS, drop_path=0.9)
        return model.apply(params, x, train=True, rngs={"dropout": jax.random.key(key)})

    a, b = (jax.jit(trained, static_argnums=0)(key) for key in (0, 1))
    assert np.abs(a[-1] - b[-1]).max() > 1e-3


def test_layers_of_the_learning_rate():
    model = Swin()
    assert model.layers == 25
    for name, layer in (
        ("patch_embed/kernel", 0), ("patch_embed_norm/scale", 0), ("stage0_block0/norm1/scale", 1),
        ("merge_1/reduction/kernel", 3), ("stage2_block17/mlp/fc1/kernel", 22), ("output_norm_3/scale", 25),
    ):  # fmt: skip
        assert model.layer_of(name) == layer, name


@pytest.mark.parametrize(
    "fields, said", [({"depths": (2, 2)}, "4 numbers each"), ({"heads": (3, 6, 12, 24)}, "3 do not divide the 128"),
                     ({"drop_path": 1.0}, "drop_path=1.0"), ({"window": 0}, "window=0")]
)  # fmt: skip
def test_fields_that_do_not_fit(fields, said):
    with pytest.raises(InputError, match=said):
        Swin(**fields)
