"""Our convolution beside flax's own in the same module: the same values and gradients."""

import os
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dataseg_jax
from dataseg_jax.networks.primitives.convolution import Doubling, convolve

KINDS = {
    "3x3": dict(kernel_size=(3, 3)),
    "5x3, no bias": dict(kernel_size=(5, 3), use_bias=False),
    "1x1": dict(kernel_size=(1, 1)),
    "1x1, stride 2": dict(kernel_size=(1, 1), strides=2, use_bias=False),
    "3x3, padded, stride 2": dict(kernel_size=(3, 3), strides=2, padding=[(1, 1), (1, 1)]),
    "4x4": dict(kernel_size=(4, 4)),
    "2x3 patches": dict(kernel_size=(2, 3), strides=(2, 3), padding="VALID"),
    "4x4 patches": dict(kernel_size=(4, 4), strides=4, padding="VALID", use_bias=False),
    "2x2, stride 2, padded": dict(kernel_size=(2, 2), strides=2),
    "3x3, dilated": dict(kernel_size=(3, 3), kernel_dilation=2),
    "1x1, groups": dict(kernel_size=(1, 1), feature_group_count=3),
}


def both(**settings):
    return nn.Conv(6, conv_general_dilated=convolve, **settings), nn.Conv(6, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 6, 9, 3), (1, 1, 2, 3)])
def test_equals_flax(kind, shape):
    ours, theirs = both(**KINDS[kind])
    x = jax.random.normal(jax.random.key(0), shape)
    params = theirs.init(jax.random.key(1), x)

    def value_and_gradients(module):
        def loss(params, x):
            y = module.apply(params, x)
            return (jnp.sin(y) * jnp.arange(y.size).reshape(y.shape)).sum(), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    found, right = value_and_gradients(ours), value_and_gradients(theirs)
    # Sums of many terms that nearly cancel: what rounding leaves goes with the largest of an array, not with each.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * np.abs(b).max(initial=0)), found, right
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_doubling_is_flax_s_transposed_convolution(dtype):
    """With the same parameters, which start as the same numbers too."""
    ours, theirs = Doubling(6, dtype), nn.ConvTranspose(6, (2, 2), (2, 2), "VALID", dtype=dtype)
    x = jax.random.normal(jax.random.key(0), (2, 3, 5, 4))
    params = theirs.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x), params)
    params["params"]["bias"] = jnp.arange(6.0)
    weights = jax.random.normal(jax.random.key(2), (2, 6, 10, 6))

    def value_and_gradients(module):
        def loss(params, x):
            y = module.apply(params, x)
            return (y * weights).sum(), y

        (_, y), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
        return jax.tree.map(lambda x: np.asarray(x, np.float32), (y, gradients))

    found, right = value_and_gradients(ours), value_and_gradients(theirs)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max()), found, right)


def test_patches_are_a_product():
    """And not a convolution, on any platform."""
    ours, _ = both(kernel_size=(2, 2), strides=2, padding="VALID")
    x = jnp.ones((1, 4, 4, 2))
    params = ours.init(jax.random.key(0), x)
    program = jax.jit(jax.grad(lambda params, x: ours.apply(params, x).sum(), (0, 1))).lower(params, x).as_text()
    assert "stablehlo.convolution" not in program and "stablehlo.dot_general" in program


@pytest.mark.parametrize("size", [1, 3])
def test_bfloat16_rounds_where_flax_does(size):
    ours, theirs = both(kernel_size=(size, size), dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (2, 6, 9, 3))
    params = theirs.init(jax.random.key(1), x)
    found, right = ours.apply(params, x), theirs.apply(params, x)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(np.float32), right.astype(np.float32))


def test_gradients_of_an_accelerator_are_convolutions():
    ours, _ = both(kernel_size=(3, 3), use_bias=False)
    x = jnp.ones((1, 4, 4, 2))
    params = ours.init(jax.random.key(0), x)
    gradient = jax.jit(jax.grad(lambda params, x: ours.apply(params, x).sum()))
    counts = {
        platform: gradient.trace(params, x)
        .lower(lowering_platforms=(platform,))
        .as_text()
        .count("stablehlo.dot_general")
        for platform in ("cpu", "cuda")
    }
    assert counts == {"cpu": 9, "cuda": 0}


# Two devices have to be there when JAX starts. Where a program adds up bfloat16 over devices, XLA does it on CPUs in
# float32 and calls the sum "promoted".
ON_TWO_DEVICES = """
import flax.linen as nn, jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from dataseg_jax.networks.primitives.convolution import Doubling, convolve

def conv(size, **settings):
    return nn.Conv(6, (size, size), dtype=jnp.bfloat16, padding="VALID", strides=size, **settings)

mesh = jax.sharding.Mesh(np.array(jax.devices()), "d")
modules = {
    "pointwise": conv(1, conv_general_dilated=convolve),
    "patches": conv(2, conv_general_dilated=convolve),
    "doubling": Doubling(6, jnp.bfloat16),
    "flax": conv(1),
}
for name, module in modules.items():
    x = jnp.zeros((4, 6, 8, 8))
    params = module.init(jax.random.key(0), x)["params"]
    loss = lambda kernel, x: jnp.sin(module.apply({"params": params | {"kernel": kernel}}, x).astype(jnp.float32)).sum()
    places = [NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("d",))]
    program = jax.jit(jax.grad(loss), in_shardings=places).lower(params["kernel"], x).compile().as_text()
    print("module", name)
    print(program)
"""


def test_gradients_of_products_cross_devices_in_float32():
    """Beside flax's own convolution, whose gradient crosses as bfloat16."""
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(dataseg_jax.__path__[0]).parent),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2",
    }
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    programs = dict(part.split("\n", 1) for part in done.stdout.split("module ")[1:])
    sums = {name: re.findall(r" all-reduce\(.*to_apply=(\S+?),", program) for name, program in programs.items()}
    assert all(len(found) == 1 for found in sums.values()), sums
    promoted = {name for name, (reducer,) in sums.items() if "promoted" in reducer}
    assert promoted == {"flax"}
