"""ResNets: known parameter counts, strides, convolutions and norms against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.backbones import resnet
from dataseg_jax.networks.backbones.norms import FrozenBatchNorm


def count(stage_sizes, bottleneck):
    """Weights of the convolutions and channels of the norms, from the tables of the ResNet paper."""
    weights, channels, width_in = 7 * 7 * 3 * 64, 64, 64
    for stage, blocks in enumerate(stage_sizes):
        width = 64 * 2**stage
        out = 4 * width if bottleneck else width
        for block in range(blocks):
            if bottleneck:
                weights += width_in * width + 9 * width * width + width * out
                channels += 2 * width + out
            else:
                weights += 9 * width_in * width + 9 * width * out
                channels += width + out
            if block == 0 and width_in != out:
                weights, channels = weights + width_in * out, channels + out
            width_in = out
    return weights, channels


RESNETS = {
    18: ((2, 2, 2, 2), False, 11_689_512 - 513_000),  # torchvision's numbers, without the last layer.
    26: ((2, 2, 2, 2), True, None),
    50: ((3, 4, 6, 3), True, 25_557_032 - 2_049_000),
}


@pytest.mark.parametrize("depth", RESNETS)
@pytest.mark.parametrize("norm", ["frozen_batch", "group"])
def test_resnet_shapes_and_parameter_counts(depth, norm):
    stage_sizes, bottleneck, known = RESNETS[depth]
    weights, channels = count(stage_sizes, bottleneck)
    assert known in (None, weights + 2 * channels)
    module = resnet.ResNet(stage_sizes, bottleneck=bottleneck, norm=norm)
    x = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.float32)
    maps, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    sizes = {jax.tree_util.keystr(p): leaf.size for p, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])}
    frozen = sum(size for path, size in sizes.items() if "frozen_" in path)
    learned = sum(sizes.values()) - frozen
    # Frozen batch norm has four arrays a norm and learns none; group norm has two and learns both.
    assert (learned, frozen) == ((weights, 4 * channels) if norm == "frozen_batch" else (weights + 2 * channels, 0))
    if depth == 50 and norm == "frozen_batch":
        assert learned == 23_454_912 and frozen == 106_240
    assert module.strides == (4, 8, 16, 32)
    first = 256 if bottleneck else 64
    assert [m.shape for m in maps] == [(2, 64 // s, 96 // s, first * s // 4) for s in module.strides]


def test_small_resnet_strides():
    module = resnet.ResNet((1, 1, 1), width=32, bottleneck=False, norm="group", stem="deep")
    maps, _ = jax.eval_shape(
        module.init_with_output, jax.random.key(0), jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.float32)
    )
    assert module.strides == (4, 8, 16)
    assert [m.shape for m in maps] == [(1, 16, 8, 32), (1, 8, 4, 64), (1, 4, 2, 128)]


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
def test_convolutions_pad_symmetrically(kernel, stride):
    """As torch does: output (i, j) is centred on input (i stride, j stride)."""
    x = np.random.default_rng(5).normal(size=(1, 8, 10, 2)).astype(np.float32)
    y, variables = resnet.conv(3, kernel, stride, jnp.float32, "conv").init_with_output(jax.random.key(0), x)
    weights, half = np.asarray(variables["params"]["kernel"], np.float64), kernel // 2
    padded = np.pad(x[0], ((half, half), (half, half), (0, 0)))
    assert y.shape == (1, -(-8 // stride), -(-10 // stride), 3)
    for i, j in np.ndindex(*y.shape[1:3]):
        window = padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        np.testing.assert_allclose(y[0, i, j], np.einsum("ijc,ijco->o", window, weights), rtol=1e-3, atol=1e-4)


def test_frozen_batch_norm():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    stats = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in ("scale", "bias", "mean", "var")}
    params = {f"frozen_{name}": value for name, value in stats.items()}
    expected = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * stats["scale"] + stats["bias"]
    np.testing.assert_allclose(FrozenBatchNorm().apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5)


def test_frozen_statistics_get_no_gradient():
    module = resnet.ResNet((1,), width=8, bottleneck=True, norm="frozen_batch")
    x = np.random.default_rng(7).normal(size=(1, 16, 16, 3)).astype(np.float32)
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    gradient = jax.jit(jax.grad(lambda p: sum((y**2).sum() for y in module.apply({"params": p}, x))))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.any(leaf != 0) != ("frozen_" in jax.tree_util.keystr(path)), path


def test_frozen_norm_keeps_its_digits_in_bfloat16():
    """A channel whose mean is 20 deviations: the result is as exact as bfloat16 can hold it."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(20, 1, (64, 64)), jnp.bfloat16)
    ones = np.ones(64, np.float32)
    params = {"frozen_scale": ones, "frozen_bias": 0 * ones, "frozen_mean": 20.03 * ones, "frozen_var": ones}
    exact = (np.asarray(x, np.float64) - 20.03) / np.sqrt(1 + 1e-5)
    y = FrozenBatchNorm(dtype=jnp.bfloat16).apply({"params": params}, x)
    assert y.dtype == jnp.bfloat16
    error = np.sqrt(((np.asarray(y, np.float64) - exact) ** 2).mean() / (exact**2).mean())
    assert error < 0.003
