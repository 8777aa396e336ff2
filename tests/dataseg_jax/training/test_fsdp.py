"""What a step does whose parameters are split over 8 devices: memory, and what crosses between them.

That its numbers are those of one device is tested in test_devices.py.
"""

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
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.primitives import placement
from dataseg_jax.training import sharding


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    command = [sys.executable, str(Path(__file__).with_name("fsdp_on_devices.py")), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(Path(dataseg_jax.__path__[0]).parent)}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


def collectives(out, fsdp):
    """Those of a program, in words."""
    found = re.findall(
        r" (all-\w+(?:-\w+)?|collective-permute|reduce-scatter)(?:-start)?\(", (out / f"{fsdp}.hlo").read_text()
    )
    return set(found)


@pytest.mark.slow
def test_no_activation_moves(out):
    """Weights are gathered and gradients reduced. An all-to-all would split activations by channels and back."""
    assert "all-gather" in collectives(out, 8)
    assert collectives(out, 8) <= {"all-gather", "all-reduce", "reduce-scatter"}


@pytest.mark.slow
def test_a_device_needs_less_memory(out):
    """Arguments fall to an eighth, but for what is never split; and so the peak, whose gathered weights come and go."""
    memory = np.load(out / "memory.npz")
    (arguments, temporary), (split_arguments, split_temporary) = memory["1"], memory["8"]
    assert arguments / 8 < split_arguments < arguments / 6
    assert split_temporary < temporary / 2


@pytest.fixture
def whole():
    """A placement on one device: all of it is in the program, and changes nothing."""
    mesh = sharding.make_mesh(1, jax.devices()[:1])
    return placement.Placement(
        sharding.batch_sharding(mesh), sharding.replicated(mesh), lambda p: sharding.parameter_sharding(p, mesh)
    )


def test_a_placement_changes_no_number(whole):
    class Layers(nn.Module):
        @nn.compact
        def __call__(self, x):
            return placement.by_image(placement.block(nn.Dense)(4, name="block_0")(x))

    x = jnp.arange(6.0).reshape(2, 3)
    params = Layers().init(jax.random.key(0), x)["params"]
    loss = lambda params: (Layers().apply({"params": params}, x) ** 2).sum()  # noqa: E731
    expected = jax.value_and_grad(loss)(params)
    with placement.placed(whole):
        program = jax.jit(jax.value_and_grad(loss)).lower(params)
    assert program.as_text().count("Sharding") + program.as_text().count("sharding_constraint") >= 7
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), program.compile()(params), expected)


@pytest.mark.parametrize("fsdp", [1, 2])
def test_networks_are_told_of_meshes_that_split(fsdp):
    mesh = jax.sharding.AbstractMesh((2, fsdp), sharding.AXES)
    assert (sharding.placement(mesh) is None) == (fsdp == 1)


@pytest.mark.parametrize(
    "backbone",
    [
        dict(name="vitdet", width=32, depth=2, heads=2, patch=16, pretrain_grid=2, window=2, global_blocks=(1,)),
        dict(name="resnet", stage_sizes=(1, 1, 1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    ],
    ids=["vitdet", "resnet"],
)
def test_every_parameter_is_gathered_once(backbone, whole, monkeypatch):
    """At the start of the step or by its block, so that no layer sees a part of its weights."""
    decoder = "simple_pyramid" if backbone["name"] == "vitdet" else "transformer_fpn"
    spec = models.ModelSpec(
        backbone,
        dict(name=decoder, width=16),
        dict(queries=3, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=8),
    )
    model = models.build(spec)
    image, words = np.zeros((1, 64, 64, 3), np.uint8), (np.zeros((1, 2, 8), np.float32), np.ones((1, 2), bool))
    params = jax.eval_shape(model.init, jax.random.key(0), image, *words)["params"]
    names = []
    of_parameters = whole.of_parameters

    def record(tree):
        names.extend(tuple(leaf.shape) for leaf in jax.tree.leaves(tree))
        return of_parameters(tree)

    def run(params):
        variables = {"params": sharding.gathered_outside_blocks(params)}
        return model.apply(variables, image, *words, method="in_training", rngs={"dropout": jax.random.key(0)})

    with placement.placed(placement.Placement(whole.batch, whole.whole, record)):
        in_blocks = sum(
            leaf.size
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if sharding._OF_BLOCKS.match(sharding.path_name(path))
        )
        jax.eval_shape(run, params)
    every = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert 0 < in_blocks < every
    assert sum(int(np.prod(shape)) for shape in names) == every + in_blocks  # The first look is at all of them.
