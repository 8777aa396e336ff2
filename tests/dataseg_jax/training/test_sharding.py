"""Where parameters live: rules as data, on meshes that need no devices."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.training import optim, sharding, train_step
from dataseg_jax.training.sharding import LARGEST, WHOLE


def mesh(fsdp, data=2):
    return AbstractMesh((data, fsdp), sharding.AXES)


def spec(name, shape, fsdp, rules=sharding.RULES):
    tree = jax.ShapeDtypeStruct(shape, jnp.float32)
    for part in reversed(name.split("/")):
        tree = {part: tree}
    return jax.tree.leaves(sharding.parameter_sharding(tree, mesh(fsdp), rules))[0].spec


@pytest.mark.parametrize(
    "name, shape, fsdp, expected",
    [
        ("backbone/block_0/mlp/fc1/kernel", (768, 3072), 8, P(None, "fsdp")),
        ("backbone/block_0/mlp/fc2/kernel", (3072, 768), 8, P("fsdp", None)),
        ("mask_decoder/layer_0/self/q/kernel", (256, 256), 8, P(None, "fsdp")),  # Equally long: the outputs.
        ("backbone/stem_conv/kernel", (7, 7, 30, 64), 8, P(None, None, None, "fsdp")),
        ("some/kernel", (1001, 96), 8, P(None, "fsdp")),  # The longest does not divide: the next.
        ("some/kernel", (1001, 99), 8, P()),  # None divides.
        ("some/kernel", (1000, 96), 1, P()),
        ("some/kernel", (127, 128), 8, P()),  # Below SMALLEST_SHARDED.
        ("some/kernel", (128, 128), 8, P(None, "fsdp")),
        ("mask_decoder/query_features", (128, 256), 8, P()),
        ("backbone/norm1/scale", (2**15,), 8, P()),
        ("some/bias", (2**15,), 8, P()),
        ("backbone/norm1/frozen_var", (2**15,), 8, P()),
    ],
)
def test_specs(name, shape, fsdp, expected):
    assert spec(name, shape, fsdp) == expected


def test_the_first_match_wins():
    rules = ((r"special/kernel$", 0), (r"kernel$", WHOLE), (r".*", LARGEST))
    assert spec("special/kernel", (256, 1024), 4, rules) == P("fsdp", None)
    assert spec("special/kernel", (255, 1024), 4, rules) == P(
        None, "fsdp"
    )  # It does not divide: the largest that does.
    assert spec("other/kernel", (256, 1024), 4, rules) == P()
    assert spec("other/table", (256, 1024), 4, rules) == P(None, "fsdp")


def test_every_parameter_must_be_covered():
    with pytest.raises(InputError, match="no rule covers the parameter other/table"):
        spec("other/table", (4, 4), 1, ((r"kernel$", LARGEST),))
    with pytest.raises(InputError, match="axis 2 of some/kernel.*4, 4"):
        spec("some/kernel", (4, 4), 1, ((r"kernel$", 2),))


VITDET = models.ModelSpec(
    backbone=dict(
        name="vitdet", width=32, depth=2, heads=2, patch=16, pretrain_grid=2, mlp_ratio=4, window=2,
        global_blocks=(1,), drop_path=0.0,
    ),
    pixel_decoder=dict(name="simple_pyramid", width=16),
    mask_decoder=dict(queries=5, width=16, layers=1, heads=2, ffn=32, memory_levels=2, text_width=8),
)  # fmt: skip


@pytest.mark.parametrize(
    "chain",
    [
        lambda params: optim.make_optimizer(params, optim.OptimConfig(), 10),
        lambda params: optax.chain(optax.trace(0.9), optax.scale(-1)),
        lambda params: optax.masked(optax.adam(1e-3), jax.tree.map(lambda p: p.ndim > 1, params)),
        lambda params: optax.adafactor(1e-3, min_dim_size_to_factor=8),
    ],
    ids=["ours", "momentum", "masked", "adafactor"],
)
def test_the_optimiser_follows_its_parameter(chain, monkeypatch):
    """Whatever keeps an array of a parameter's shape under its path is split like it, all else is whole."""
    monkeypatch.setattr(sharding, "SMALLEST_SHARDED", 64)
    arguments = jnp.zeros((1, 32, 32, 3), jnp.uint8), jnp.zeros((1, 64, 8)), jnp.zeros((1, 64), bool)
    state = jax.eval_shape(lambda: train_step.init_state(models.build(VITDET), arguments, chain, 0))
    placed = sharding.state_sharding(state, mesh(4))
    by_name = {
        optim.path_name(path): (leaf.shape, where.spec)
        for (path, leaf), where in zip(
            jax.tree_util.tree_leaves_with_path(state.params), jax.tree.leaves(placed.params), strict=True
        )
    }
    split = sum(where != P() for _, where in by_name.values())
    assert split > 15
    leaves = zip(jax.tree_util.tree_leaves_with_path(state.opt_state), jax.tree.leaves(placed.opt_state), strict=True)
    followed = 0
    for (path, leaf), where in leaves:
        name = optim.path_name(path)
        owner = next((key for key in by_name if name.endswith("/" + key)), None)
        shape, expected = by_name.get(owner, (None, None))
        assert where.spec == (expected if shape == leaf.shape else P()), name
        followed += where.spec != P()
    assert followed > 0
    assert placed.step.spec == placed.rng.spec == P()
