"""A batch in parts equals the whole: loss, terms, counts and gradient, whatever lies in which part.

The model here is one matrix a head, so that programs are small; test_devices.py has the real one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.types import Proposals
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import objective
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.training import accumulation, sharding

B, L, N, G, D, S = 8, 2, 6, 4, 4, 16
KINDS = {"panoptic": np.arange(4) % 2 == 0, "semantic": np.ones(5, bool), "boxes": np.ones(3, bool)}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    weights = dict(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    return make_task_table([Task(k, k, thing, rng.normal(size=(len(thing), 8)), weights) for k, thing in KINDS.items()])


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(1)
    inputs = 3 * (S // 4) ** 2
    shapes = {"classes": (inputs, L * N * 65), "masks": (inputs, L * N * D), "features": (3, D)}
    return {name: (rng.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def batch():
    """Targets grow from none in the first images to all slots; the last image is void."""
    rng = np.random.default_rng(2)
    low = rng.uniform(0, 8, (B, G, 2))
    targets = Targets(
        labels=rng.integers(0, 3, (B, G)).astype(np.int32),
        boxes=np.concatenate([low, low + rng.uniform(1, 8, (B, G, 2))], -1).astype(np.float32),
        masks=rng.integers(0, 256, (B, G, S // 4, S // 4)).astype(np.uint8),
        valid=np.arange(G) < np.array([0, 0, 1, 1, 2, 3, 4, 4])[:, None],
    )
    pixel_valid = rng.uniform(size=(B, S // 4, S // 4)) < 0.8
    pixel_valid[-1] = False
    ids = np.arange(B, dtype=np.int32)
    return Batch(
        rng.integers(0, 256, (B, S, S, 3)).astype(np.uint8), pixel_valid, targets, ids * 2 % 3, ids, np.full((B, 2), S)
    )


def forward(params, batch, table, key, noise=0.0):
    x = batch.image[:, ::4, ::4].astype(jnp.float32) / 128 - 1
    x += noise * jax.random.normal(key, x.shape)
    flat = x.reshape(len(x), -1)
    class_logits = (flat @ params["classes"]).reshape(-1, L, N, 65)
    known = jnp.append(table.rows(batch.task).category_valid, jnp.ones((len(x), 1), bool), 1)
    class_logits = jnp.where(known[:, None, None], class_logits, -1e9)
    return Proposals(class_logits, (flat @ params["masks"]).reshape(-1, L, N, D), x @ params["features"])


def whole(params, batch, table, config):
    def loss_of(params):
        key = jax.random.key(0)
        return objective(forward(params, batch, table, key), batch, table, config, None, key)

    return jax.device_get(jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params))


def in_parts(params, batch, table, config, parts, forward=forward):
    mesh = sharding.make_mesh(1, jax.devices()[:1])
    shardings = sharding.parameter_sharding(params, mesh)

    def run(params, batch, table):
        key = jax.random.key(0)
        return accumulation.loss_and_gradient(forward, params, batch, table, config, mesh, key, parts, shardings)

    return jax.device_get(jax.jit(run)(params, batch, table))


def assert_same(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(np.abs(b).max(), 1e-3))


CONFIGS = {
    "all cells": ObjectiveConfig(),
    "layer by layer": ObjectiveConfig(layers_at_once=1),
    "all cells as a sample": ObjectiveConfig(loss_points=(S // 4) ** 2),  # Another order of them, no other number.
}


@pytest.mark.parametrize("parts", [4, pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)])
def test_parts_equal_the_whole(params, batch, table, parts):
    expected = whole(params, batch, table, ObjectiveConfig())
    assert_same(in_parts(params, batch, table, ObjectiveConfig(), parts), expected)
    diagnostics = expected[0][1][1]
    assert 0 < diagnostics.slots.sum() < B * N  # Something merges.


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONFIGS)[1:])
def test_parts_equal_the_whole_however_it_is_computed(params, batch, table, name):
    assert_same(in_parts(params, batch, table, CONFIGS[name], 4), whole(params, batch, table, CONFIGS[name]))


@pytest.mark.slow
def test_the_mean_over_parts_is_another_loss(params, batch, table):
    """What the second pass is for: parts that are normalised apart give another gradient."""
    loss, gradient = whole(params, batch, table, ObjectiveConfig())
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 4], batch) for i in (0, 4)]
    means = jax.tree.map(lambda a, b: (a + b) / 2, *(whole(params, half, table, ObjectiveConfig()) for half in halves))
    assert abs(means[0][0] / loss[0] - 1) > 0.01
    assert np.abs(means[1]["masks"] - gradient["masks"]).max() > 0.01 * np.abs(gradient["masks"]).max()


@pytest.mark.slow
def test_no_target_at_all(params, batch, table):
    empty = batch.replace(targets=batch.targets.replace(valid=np.zeros((B, G), bool)))
    assert_same(in_parts(params, empty, table, ObjectiveConfig(), 4), whole(params, empty, table, ObjectiveConfig()))


def test_both_passes_draw_the_same(params, batch, table):
    """With noise in the forward, the decisions of the first pass are those of the images that the second one sees."""
    noisy = functools.partial(forward, noise=1.0)
    got = in_parts(params, batch, table, ObjectiveConfig(), 2, noisy)
    keys = jax.random.split(jax.random.key(0), 2)

    def loss_of(params):
        halves = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], batch) for i in (0, 1)]
        seen = [noisy(params, half, table, key) for half, key in zip(halves, (keys[0], keys[1]), strict=True)]
        seen = jax.tree.map(lambda *x: jnp.concatenate(x), *seen)
        return objective(seen, batch, table, ObjectiveConfig())

    assert_same(got, jax.device_get(jax.jit(jax.value_and_grad(loss_of, has_aux=True))(params)))
