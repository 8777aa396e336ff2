"""FLOPs by formula: loops count as often as they turn, which XLA's own count does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import vitdet_b
from experiments import parameters
from experiments.runtime import settings
from experiments.runtime.start.flops import flops

X = jax.ShapeDtypeStruct((4, 8), jnp.float32)
W = jax.ShapeDtypeStruct((6, 8, 8), jnp.float32)
ONE = 2 * 4 * 8 * 8  # Of one product of X with a layer of W.


def layers(x, w):
    return jax.lax.scan(lambda c, kernel: (jnp.tanh(c @ kernel), None), x, w)[0]


def unrolled(x, w):
    for kernel in w:
        x = jnp.tanh(x @ kernel)
    return x


def test_a_loop_is_its_turns():
    assert flops(layers, X, W) == flops(unrolled, X, W) == 6 * ONE
    assert flops(jax.jit(layers), X, W) == 6 * ONE  # A function that is jitted already.
    assert jax.jit(layers).lower(X, W).cost_analysis()["flops"] < 2 * ONE  # Why this count exists.


def test_gradients_and_what_is_computed_twice():
    def gradient(function):
        return flops(jax.grad(lambda x, w: function(x, w).sum(), (0, 1)), X, W)

    assert gradient(layers) == gradient(unrolled) == 3 * 6 * ONE
    assert gradient(jax.checkpoint(layers)) == 4 * 6 * ONE


def test_branches_and_rules_of_differentiation():
    def either(x, w):
        return jax.lax.cond(x[0, 0] > 0, lambda: x @ w[0], lambda: unrolled(x, w[:3]))

    assert flops(either, X, W) == 3 * ONE
    ruled = jax.custom_vjp(lambda x, w: x @ w[0])
    ruled.defvjp(lambda x, w: (x @ w[0] @ w[1], w), lambda w, g: (g, w))
    assert flops(ruled, X, W) == ONE


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_without_padding_are_those_of_xla(groups):
    x, kernel = jnp.ones((2, 9, 8, 6)), jnp.ones((3, 3, 6 // groups, 4))

    def convolved(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 1), "VALID", dimension_numbers=numbers, feature_group_count=groups
        )

    by_xla = jax.jit(convolved).lower(x, kernel).cost_analysis()["flops"]
    np.testing.assert_allclose(flops(convolved, x, kernel), by_xla)


def test_each_device_of_a_mesh_does_its_part():
    mesh = jax.sharding.AbstractMesh((4,), ("data",))
    spec = jax.sharding.PartitionSpec("data")
    part = jax.shard_map(lambda x, w: x @ w[0], mesh=mesh, in_specs=(spec, None), out_specs=spec)
    assert flops(part, X, W) == ONE


def test_a_scanned_backbone_counts_as_the_same_one_unrolled():
    counts = []
    for scan in (False, True):
        config = vitdet_b.get_config("tiny,datasets=coco")
        config.model.backbone.update(scan=scan, remat=scan)
        spec = settings.model_spec(config)
        counts.append(parameters.count(spec, config.image_size))
    assert counts[0].flops == counts[1].flops > counts[0].backbone_flops == counts[1].backbone_flops > 0
