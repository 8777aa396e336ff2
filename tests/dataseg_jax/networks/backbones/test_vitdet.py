"""ViTDet and its simple pyramid against naive loops, and by what must not change the result."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from dataseg_jax.errors import InputError
from dataseg_jax.networks.backbones import ViTDet, grid_attention, vitdet
from dataseg_jax.networks.pixel_decoders import SimplePyramid

FIELDS = dict(width=16, depth=4, heads=2, window=3, global_blocks=(1, 3), pretrain_grid=3, drop_path=0.4)
GRID = (4, 5)  # Padded to windows of 3 in both directions.


def random_params(module, *args, seed=0):
    """Every parameter random: zero tables and unit scales would hide mistakes."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [rng.normal(0, 0.3, leaf.shape).astype(np.float32) for leaf in leaves])


def images(grid=GRID, batch=2):
    return np.random.default_rng(1).normal(size=(batch, 16 * grid[0], 16 * grid[1], 3)).astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return random_params(ViTDet(**FIELDS), images())


@pytest.fixture(scope="module")
def run(params):
    """`run(key, **change)`: the map of `images` by the same parameters, kept; a key trains, with drop path."""

    @functools.cache
    def run(key=None, **change):
        program = jax.jit(functools.partial(ViTDet(**FIELDS | change).apply, train=key is not None))
        rngs = None if key is None else {"dropout": jax.random.key(key)}
        return jax.device_get(program({"params": params}, images(), rngs=rngs)[0])

    return run


@pytest.fixture(scope="module")
def gradient(params):
    """`gradient(key, **change)`: of a random function of that map."""

    @functools.cache
    def gradient(key, **change):
        weights = np.random.default_rng(2).normal(size=(2, *GRID, 16)).astype(np.float32)

        def loss(params):
            rngs = {"dropout": jax.random.key(key)}
            (out,) = ViTDet(**FIELDS | change).apply({"params": params}, images(), train=True, rngs=rngs)
            return (out.astype(jnp.float32) * weights).sum()

        return jax.device_get(jax.jit(jax.grad(loss))(params))

    return gradient


def assert_close(one, other, tolerance=1e-5):
    """Every array equal to within a fraction of its largest entry."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max() + 1e-12)


# A block as loops over images, windows, heads and queries, in float64.


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p["scale"] + p["bias"]


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


def naive_attention(x, p, heads):
    """[h, w, C] of one image or window."""
    h, w, width = x.shape
    c = width // heads
    qkv, out = dense(x, p["qkv"]), np.zeros_like(x)
    for head, i, j in np.ndindex(heads, h, w):
        q, k, v = (qkv[..., part * width + head * c : part * width + (head + 1) * c] for part in range(3))
        scores = np.zeros((h, w))
        for y, x_ in np.ndindex(h, w):
            towards = p["rel_pos_h"][i - y + h - 1] + p["rel_pos_w"][j - x_ + w - 1]
            scores[y, x_] = q[i, j] @ k[y, x_] / np.sqrt(c) + q[i, j] @ towards
        weights = np.exp(scores - scores.max())
        out[i, j, head * c : (head + 1) * c] = np.einsum("yx,yxc->c", weights / weights.sum(), v)
    return dense(out, p["proj"])


def naive_block(x, p, heads, window):
    x = x.copy()
    normed = norm(x, p["norm1"])
    for b in range(len(x)):
        for top in range(0, x.shape[1], window):
            for left in range(0, x.shape[2], window):
                piece = normed[b, top : top + window, left : left + window]
                padded = np.zeros((window, window, x.shape[-1]))
                padded[: piece.shape[0], : piece.shape[1]] = piece
                attended = naive_attention(padded, p["attention"], heads)[: piece.shape[0], : piece.shape[1]]
                x[b, top : top + window, left : left + window] += attended
    y = dense(norm(x, p["norm2"]), p["mlp"]["fc1"])
    return x + dense(y * (1 + erf(y / np.sqrt(2))) / 2, p["mlp"]["fc2"])


@pytest.mark.parametrize("window, grid", [(3, GRID), (2, GRID), (5, (5, 5))])
def test_block_is_a_loop_over_windows(window, grid):
    block = vitdet.Block(heads=2, hidden=12, window=window, dtype=jnp.float32)
    x = np.random.default_rng(3).normal(size=(2, *grid, 8)).astype(np.float32)
    p = random_params(block, x)
    out = jax.jit(block.apply)({"params": p}, x)
    assert_close(out, naive_block(*jax.tree.map(np.float64, (x, p)), heads=2, window=window))


def test_windows_come_back():
    x = np.random.default_rng(4).normal(size=(2, *GRID, 3)).astype(np.float32)
    windows = vitdet.to_windows(x, 3)
    assert windows.shape == (2 * 2 * 2, 3, 3, 3)
    np.testing.assert_array_equal(windows[1], np.pad(x[0, :3, 3:], ((0, 0), (0, 1), (0, 0))))
    np.testing.assert_array_equal(vitdet.from_windows(windows, *GRID), x)


def test_a_window_as_large_as_the_image_is_global():
    x = images((4, 4))
    fields = FIELDS | dict(depth=2, window=4)
    windowed, everywhere = (ViTDet(**fields | dict(global_blocks=blocks)) for blocks in ((), (0, 1)))
    p = random_params(windowed, x)
    assert_close(*(jax.jit(module.apply)({"params": p}, x) for module in (windowed, everywhere)))


@pytest.mark.parametrize("key", [None, 0])
def test_scan_is_the_plain_loop(run, key):
    """In evaluation, and in training with the same draws of drop path."""
    assert_close(run(key, scan=True), run(key))


@pytest.mark.parametrize(
    "change",
    [
        dict(scan=True, remat=True),
        pytest.param(dict(scan=True), marks=pytest.mark.slow),
        pytest.param(dict(remat=True), marks=pytest.mark.slow),
    ],
)
def test_scan_and_remat_keep_the_gradient(gradient, change):
    assert_close(gradient(0, **change), gradient(0))


def test_remat_keeps_the_map(run):
    assert_close(run(0, remat=True), run(0))


def test_scan_in_bfloat16(run):
    scanned, plain = (np.float32(run(dtype=jnp.bfloat16, **change)) for change in (dict(scan=True), {}))
    assert_close(scanned, plain, 0.02)


def test_the_tree_does_not_depend_on_scan_and_remat():
    trees = [
        jax.tree.map(
            np.shape,
            jax.eval_shape(ViTDet(**FIELDS, scan=scan, remat=remat).init, jax.random.key(0), images()),
        )
        for scan in (False, True)
        for remat in (False, True)
    ]
    assert all(tree == trees[0] for tree in trees)
    assert set(trees[0]["params"]) == {"patch_embed", "position_embedding", *(f"block_{i}" for i in range(4))}


def test_drop_path_is_off_in_evaluation(run):
    """Then no key is needed, and the map is that of a network without drop path."""
    assert_close(run(), run(0, drop_path=0.0))
    assert np.abs(run() - run(0)).max() > 1e-3
    assert np.abs(run(0) - run(1)).max() > 1e-3


def test_drop_path_skips_branches_of_images_and_is_unbiased():
    """Two blocks, the second skips each branch with chance 0.4. Its MLP is silent, so that attention shows alone."""
    fields = FIELDS | dict(depth=2, global_blocks=(1,))
    n, chance = 2000, 0.4
    x = np.repeat(images((1, 1), 1), n, 0)
    p = random_params(ViTDet(**fields), x[:1])
    p["block_1"]["mlp"]["fc2"] = jax.tree.map(np.zeros_like, p["block_1"]["mlp"]["fc2"])
    without = {"proj": jax.tree.map(np.zeros_like, p["block_1"]["attention"]["proj"])}
    silent = p | {"block_1": p["block_1"] | {"attention": p["block_1"]["attention"] | without}}
    program = jax.jit(ViTDet(**fields).apply, static_argnames="train")
    whole, base = (np.asarray(program({"params": tree}, x[:1])[0])[0] for tree in (p, silent))
    out = np.asarray(program({"params": p}, x, train=True, rngs={"dropout": jax.random.key(0)})[0])
    kept = np.abs(out - base).max((1, 2, 3)) > 1e-3 * np.abs(base).max()
    assert_close(out, np.where(kept[:, None, None, None], base + (whole - base) / (1 - chance), base))
    assert abs(kept.mean() - (1 - chance)) < 4 * np.sqrt(chance * (1 - chance) / n)  # Four standard deviations.


def test_drop_path_grows_linearly():
    class Paths(ViTDet):
        def __call__(self, batch):
            return self._paths(batch)

    paths = np.asarray(Paths(**FIELDS).apply({}, 4000, rngs={"dropout": jax.random.key(0)}))
    assert paths.shape == (4, 2, 4000)
    for block, chance in enumerate((0, 0.4 / 3, 0.8 / 3, 0.4)):
        drawn = paths[block]
        assert np.isin(drawn, np.float32([0, 1 / (1 - np.float32(chance))])).all()
        np.testing.assert_allclose((drawn == 0).mean(1), chance, atol=0.03)
        np.testing.assert_allclose((drawn[0] == 0)[drawn[1] == 0].mean() if block else 0, chance, atol=0.05)


def test_bfloat16_stays_near_float32(run):
    half = run(dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    assert_close(np.float32(half), run(), 0.05)
    shapes = jax.eval_shape(ViTDet(**FIELDS, dtype=jnp.bfloat16).init, jax.random.key(0), images())
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype("float32")}


def test_strides_and_images_that_do_not_fit(run):
    module = ViTDet(**FIELDS)
    assert module.strides == (16,) and run().shape == (2, *GRID, 16)
    with pytest.raises(InputError, match="64 x 81.*multiples of 16"):
        module.init(jax.random.key(0), np.zeros((1, 64, 81, 3), np.float32))


# Positions.


def test_positions_are_resized_as_opencv_does():
    """OpenCV's cubic has torch's a = -0.75, half-pixel centres and repeated edges."""
    positions = np.random.default_rng(6).normal(size=(5, 5, 3)).astype(np.float32)
    for h, w in ((7, 12), (5, 9), (3, 4), (1, 1)):
        expected = cv2.resize(positions, (w, h), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_allclose(grid_attention.resize_positions(positions, h, w), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(grid_attention.resize_positions(positions, 5, 5), positions)


def test_relative_positions():
    table = np.random.default_rng(7).normal(size=(7, 2)).astype(np.float32)
    out = np.asarray(grid_attention.relative_positions(table, 4))
    for i, j in np.ndindex(4, 4):
        np.testing.assert_array_equal(out[i, j], table[i - j + 3])
    larger = jax.image.resize(table, (11, 2), "linear", antialias=False)
    expected = grid_attention.relative_positions(larger, 6)
    np.testing.assert_allclose(grid_attention.relative_positions(table, 6), expected, rtol=1e-5, atol=1e-6)


# Fields that do not fit together.


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(width=18, heads=4), "model.backbone.width=18"),
        (dict(global_blocks=(1, 4)), r"model.backbone.global_blocks=\(1, 4\).*0 to 3"),
        (dict(drop_path=1.0), "model.backbone.drop_path=1.0"),
        (dict(scan=True, global_blocks=(0, 3)), "model.backbone.scan=True.*equal groups"),
    ],
)
def test_fields_that_do_not_fit(change, said):
    with pytest.raises(InputError, match=said):
        ViTDet(**FIELDS | change)


def test_groups_of_the_paper_s_sizes():
    assert ViTDet(scan=True).period == 3
    assert ViTDet(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23), scan=True).period == 6


# The simple pyramid.


def naive_conv3(x, kernel):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j] for i, j in np.ndindex(3, 3)]
    return np.sum(shifted, 0)


def naive_deconv(x, p):
    """Each place becomes 2 x 2 places. JAX stores the kernel mirrored."""
    b, h, w, _ = x.shape
    out = np.zeros((b, 2 * h, 2 * w, p["kernel"].shape[-1]))
    for i, j in np.ndindex(2, 2):
        out[:, i::2, j::2] = x @ p["kernel"][1 - i, 1 - j] + p["bias"]
    return out


def test_simple_pyramid_is_its_definition():
    x = np.random.default_rng(8).normal(size=(2, 4, 6, 8)).astype(np.float32)
    module = SimplePyramid(width=12)
    p = random_params(module, [x])
    total, levels = jax.device_get(jax.jit(module.apply)({"params": p}, [x]))
    x, p = jax.tree.map(np.float64, (x, p))
    y = norm(naive_deconv(x, p["deconv_0"]), p["deconv_norm_0"])
    y = naive_deconv(y * (1 + erf(y / np.sqrt(2))) / 2, p["deconv_1"])
    scaled = [y, naive_deconv(x, p["deconv_2"]), x, x.reshape(2, 2, 2, 3, 2, 8).max((2, 4))]
    expected = 0
    for i, (level, y) in enumerate(zip(levels, scaled, strict=True)):
        assert y.shape[1:] == (16 >> i, 24 >> i, (2, 4, 8, 8)[i])
        y = norm(y @ p[f"lateral_{i}"]["kernel"][0, 0], p[f"lateral_norm_{i}"])
        y = norm(naive_conv3(y, p[f"output_{i}"]["kernel"]), p[f"output_norm_{i}"])
        assert_close(level, y)
        expected += np.stack([cv2.resize(image, (24, 16), interpolation=cv2.INTER_LINEAR) for image in y])
    assert_close(total, expected)


def test_simple_pyramid_takes_one_map_at_stride_16():
    assert SimplePyramid().level_strides((16,)) == (4, 8, 16, 32)
    for strides in ((4, 8, 16, 32), (8,)):
        with pytest.raises(InputError, match="simple_pyramid.*one map at stride 16"):
            SimplePyramid().level_strides(strides)
