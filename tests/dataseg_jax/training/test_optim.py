"""The optimiser against closed forms, and its rules on the parameters of real models."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.backbones import ResNet, ViTDet
from dataseg_jax.training import optim
from dataseg_jax.training.optim import OptimConfig

PARAMS = {
    "backbone": {
        "stem_conv": {"kernel": [2.0, -1.0]},
        "stem_norm": {"frozen_scale": [1.0, 3.0], "frozen_var": [4.0, 5.0]},
    },
    "mask_decoder": {"class_head": {"kernel": [0.5, 1.5], "bias": [1.0, 2.0]}, "query_positions": [3.0, -2.0]},
    "classifier": {"background": [0.6, 0.8], "scale": [5.0]},
}
PARAMS = jax.tree.map(lambda x: jnp.array(x, jnp.float32), PARAMS, is_leaf=lambda x: isinstance(x, list))


def rates(config, steps, at):
    schedule = optim.learning_rate(config, steps)
    return [float(schedule(step)) for step in at]


def test_poly_schedule():
    """Linear warm-up from 0, then (1 - progress) to the power 0.9, down to 0."""
    config = OptimConfig(learning_rate=2.0, schedule="poly", warmup_steps=10)
    expected = [0, 1.0, 1.8, 2.0, 2 * 0.5**0.9, 2 * 0.01**0.9, 0, 0]
    np.testing.assert_allclose(rates(config, 110, [0, 5, 9, 10, 60, 109, 110, 500]), expected, rtol=1e-4, atol=1e-7)


def test_step_schedule():
    """A tenth at each milestone, which are fractions of the whole run, warm-up included."""
    config = OptimConfig(learning_rate=1.0, schedule="step", warmup_steps=20, milestones=(0.5, 0.9))
    at = [0, 10, 20, 99, 101, 179, 181, 999]
    np.testing.assert_allclose(rates(config, 200, at), [0, 0.5, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-5)


def test_milestones_fall_on_their_step():
    """ViTDet's and Mask2Former's, given as fractions: the first step at the lower rate is the milestone itself."""
    for steps, milestones in ((184_375, (163_889, 177_546)), (368_750, (327_778, 355_092))):
        config = OptimConfig(learning_rate=1.0, schedule="step", milestones=tuple(m / steps for m in milestones))
        for warmup in (0, 250):
            config = dataclasses.replace(config, warmup_steps=warmup)
            at = [m + d for m in milestones for d in (-1, 0)]
            np.testing.assert_allclose(rates(config, steps, at), [1, 0.1, 0.1, 0.01], rtol=1e-5)


def test_warmup_may_start_above_nothing():
    """ViTDet's: linear from a thousandth."""
    config = OptimConfig(learning_rate=2.0, schedule="step", warmup_steps=250, warmup_start=0.001)
    expected = [0.002 + (2 - 0.002) * t / 250 for t in (0, 1, 125, 249)]
    np.testing.assert_allclose(rates(config, 1000, [0, 1, 125, 249]), expected, rtol=1e-4)
    np.testing.assert_allclose(rates(config, 1000, [250, 800]), 2.0)


def test_constant_schedule_and_no_warmup():
    config = OptimConfig(learning_rate=0.5, schedule="constant")
    np.testing.assert_allclose(rates(config, 10, [0, 3, 99]), 0.5)
    assert rates(OptimConfig(learning_rate=0.5, schedule="poly"), 10, [0]) == [0.5]


def test_cosine_schedule():
    """Half a period after the warm-up, down to 0."""
    config = OptimConfig(learning_rate=2.0, schedule="cosine", warmup_steps=10)
    expected = [0, 1.0, 2.0, 1 + np.cos(np.pi * 0.3), 1.0, 0, 0]
    np.testing.assert_allclose(rates(config, 110, [0, 5, 10, 40, 60, 110, 500]), expected, rtol=1e-4, atol=1e-6)


def test_unknown_schedule():
    with pytest.raises(InputError, match="linear.*poly.*cosine"):
        optim.learning_rate(OptimConfig(schedule="linear"), 10)


def test_the_average_is_that_of_the_parameters_and_forgets_what_was_before():
    optimizer = optim.make_optimizer(PARAMS, OptimConfig(learning_rate=0.1, average=0.9, schedule="constant"), 40)
    state = optimizer.init(jax.tree.map(lambda x: x + 1e6, PARAMS))  # Weights that others replace before step 1.
    params, expected = PARAMS, None
    update = jax.jit(optimizer.update)
    for t in range(40):
        gradient = jax.tree.map(lambda x, t=t: jnp.sin(x + t), params)
        updates, state = update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        decay = min(0.9, t / (t + 10))
        new = jax.tree.map(np.float64, params)
        expected = new if expected is None else jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, expected, new)
    average = optim.averaged(params, state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), average, expected)
    assert jax.tree.all(jax.tree.map(lambda a, p: np.any(a != p), average["mask_decoder"], params["mask_decoder"]))


def test_without_an_average_the_parameters_are_used():
    optimizer = optim.make_optimizer(PARAMS, OptimConfig(), 10)
    assert optim.averaged(PARAMS, optimizer.init(PARAMS)) is PARAMS


def shapes_of(norm, stem, bottleneck):
    """The parameters of a small model, by their paths."""
    spec = models.ModelSpec(
        backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=bottleneck, norm=norm, stem=stem),
        pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
        mask_decoder=dict(queries=3, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=8),
    )
    arguments = jnp.zeros((1, 32, 32, 3), jnp.uint8), jnp.zeros((1, 64, 8)), jnp.zeros((1, 64), bool)
    return jax.eval_shape(models.build(spec).init, jax.random.key(0), *arguments)["params"]


def by_path(tree):
    return {
        jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize(("norm", "stem", "bottleneck"), [("group", "deep", False), ("frozen_batch", "imagenet", True)])
def test_rules_on_a_real_model(norm, stem, bottleneck):
    """Kernels decay and nothing else; the backbone learns at a tenth; frozen statistics do not learn."""
    params = shapes_of(norm, stem, bottleneck)
    decays = by_path(optim.decay_mask(params))
    multipliers = by_path(optim.multipliers(params, OptimConfig(backbone_multiplier=0.1)))
    assert decays.keys() == multipliers.keys() == by_path(params).keys()
    learned = {path: decays[path] for path in decays if "frozen_" not in path}
    assert {path for path, on in learned.items() if on} == {path for path in learned if path.endswith("/kernel")}
    for part in ("norm1/gn/scale", "cross_norm/scale", "query_positions", "query_features", "level_embedding"):
        assert norm == "frozen_batch" or sum(path.endswith(part) for path in learned), part
    assert "classifier/scale" in learned and "classifier/background" in learned
    for path, multiplier in multipliers.items():
        expected = 0.0 if "frozen_" in path else 0.1 if path.startswith("backbone/") else 1.0
        assert multiplier == expected, path
    frozen = [path.rsplit("/", 1)[1] for path in multipliers if "frozen_" in path]
    assert set(frozen) == (set() if norm == "group" else {"frozen_scale", "frozen_bias", "frozen_mean", "frozen_var"})


def test_updates_are_adamw_with_multipliers():
    """Five steps against AdamW written out: m, v, bias correction, decay of the parameter, rate."""
    config = OptimConfig(
        learning_rate=0.1,
        weight_decay=0.05,
        backbone_multiplier=0.1,
        schedule="poly",
        warmup_steps=2,
        clip=0.0,
        b1=0.8,
        b2=0.9,
    )
    optimizer = optim.make_optimizer(PARAMS, config, 12)
    state, params = optimizer.init(PARAMS), PARAMS
    rng = np.random.default_rng(0)
    gradients = [jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), PARAMS) for _ in range(5)]
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    rate = [0, 0.05] + [0.1 * (1 - t / 10) ** 0.9 for t in range(3)]
    for path, start in by_path(PARAMS).items():
        p, m, v = np.asarray(start, np.float64), 0.0, 0.0
        multiplier = 0.0 if "frozen_" in path else 0.1 if path.startswith("backbone") else 1.0
        for t, gradient in enumerate(gradients):
            g = np.asarray(by_path(gradient)[path], np.float64)
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
            step = (m / (1 - 0.8 ** (t + 1))) / (np.sqrt(v / (1 - 0.9 ** (t + 1))) + 1e-8)
            step += 0.05 * p * path.endswith("kernel")
            p = p - rate[t] * multiplier * step
        np.testing.assert_allclose(by_path(params)[path], p, rtol=1e-4, atol=1e-6, err_msg=path)
        if "frozen_" in path:
            np.testing.assert_array_equal(by_path(params)[path], start)


@pytest.mark.parametrize(("clip", "scale"), [(0.01, 0.01), (1e9, None), (0.0, None)])
def test_clip_is_of_the_global_norm(clip, scale):
    """Seen in Adam's first moment, which a clipped gradient enters."""
    gradient = jax.tree.map(lambda x: jnp.full_like(x, 2.0), PARAMS)
    norm = 2 * np.sqrt(sum(x.size for x in jax.tree.leaves(PARAMS)))
    optimizer = optim.make_optimizer(PARAMS, OptimConfig(clip=clip), 10)
    _, state = optimizer.update(gradient, optimizer.init(PARAMS), PARAMS)
    (moment,) = (s.mu for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu"))
    expected = 0.1 * 2.0 * (1 if scale is None else scale / norm)
    for leaf in jax.tree.leaves(moment):
        np.testing.assert_allclose(leaf, expected, rtol=1e-5)


def test_parameters_may_be_shapes():
    shapes = shapes_of("group", "deep", False)
    optimizer = optim.make_optimizer(shapes, OptimConfig(), 10)
    state = jax.eval_shape(optimizer.init, shapes)
    updates, _ = jax.eval_shape(optimizer.update, shapes, state, shapes)
    assert jax.tree.structure(updates) == jax.tree.structure(shapes)


def vit(depth):
    """The parameter names of a ViTDet, shapes shrunk."""
    block = {
        "norm1": {"scale": (4,), "bias": (4,)},
        "attention": {
            "qkv": {"kernel": (4, 12), "bias": (12,)},
            "proj": {"kernel": (4, 4), "bias": (4,)},
            "rel_pos_h": (5, 2),
            "rel_pos_w": (5, 2),
        },
        "norm2": {"scale": (4,), "bias": (4,)},
        "mlp": {"fc1": {"kernel": (4, 8), "bias": (8,)}, "fc2": {"kernel": (8, 4), "bias": (4,)}},
    }
    backbone = {"patch_embed": {"kernel": (2, 2, 3, 4), "bias": (4,)}, "position_embedding": (1, 3, 3, 4)}
    backbone |= {f"block_{i}": block for i in range(depth)}
    shapes = {"backbone": backbone, "pixel_decoder": {"up": {"kernel": (4, 4)}}, "mask_decoder": {"block_3": (2,)}}
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), shapes, is_leaf=is_shape)


@pytest.mark.parametrize(("depth", "decay"), [(12, 0.7), (24, 0.8)])
def test_layer_decay_is_vitdet_s(depth, decay):
    """decay^(L + 1 - id): embeddings id 0, block i id i + 1, everything after the backbone as it is."""
    config, backbone = OptimConfig(layer_decay=decay, backbone_multiplier=1.0), ViTDet(depth=depth, global_blocks=())
    for path, multiplier in by_path(optim.multipliers(vit(depth), config, backbone)).items():
        part, module = path.split("/")[:2]
        if part != "backbone":
            assert multiplier == 1, path
        else:
            layer = int(module.removeprefix("block_")) + 1 if module.startswith("block_") else 0
            np.testing.assert_allclose(multiplier, decay ** (depth + 1 - layer), err_msg=path)
    both = optim.multipliers(
        vit(depth), OptimConfig(layer_decay=decay, backbone_multiplier=0.1), ViTDet(depth=depth, global_blocks=())
    )
    np.testing.assert_allclose(both["backbone"][f"block_{depth - 1}"]["norm1"]["bias"], 0.1 * decay)


def test_positions_of_a_vit_do_not_decay():
    params = {"backbone": vit(2)["backbone"]}
    decays = by_path(optim.decay_mask(params))
    assert {path for path, on in decays.items() if on} == {p for p in by_path(params) if p.endswith("/kernel")}


def test_layer_decay_needs_blocks():
    with pytest.raises(InputError, match="layer_decay=0.7.*vitdet"):
        optim.multipliers(PARAMS, OptimConfig(layer_decay=0.7), ResNet())


def test_the_table_has_every_parameter():
    mesh = jax.make_mesh((1, 1), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spec = lambda *axes: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))  # noqa: E731
    shardings = jax.tree.map(lambda _: spec(), PARAMS)
    shardings["mask_decoder"]["query_positions"] = spec("fsdp")
    config = OptimConfig(weight_decay=0.05, backbone_multiplier=0.1)
    rows = optim.parameter_rows(PARAMS, config, shardings)
    table = {row.name: (row.shape, row.size, row.rate, row.decay, row.split) for row in rows}
    assert table.keys() == by_path(PARAMS).keys()
    assert table["backbone/stem_conv/kernel"] == ((2,), 2, 0.1, 0.05, "-")
    assert table["backbone/stem_norm/frozen_scale"] == ((2,), 2, 0, 0, "-")
    assert table["mask_decoder/query_positions"] == ((2,), 2, 1, 0, "0:fsdp")
    assert table["mask_decoder/class_head/kernel"] == ((2,), 2, 1, 0.05, "-")
    assert {row.split for row in optim.parameter_rows(PARAMS, config)} == {"-"}


def test_milestones_on_one_step_add_up():
    """A short run rounds 0.9 and 0.95 to the same step: the rate falls by both."""
    config = OptimConfig(learning_rate=1.0, schedule="step", milestones=(0.9, 0.95, 0.5))
    schedule = optim.learning_rate(config, 4)
    np.testing.assert_allclose([float(schedule(step)) for step in range(6)], [1, 1, 0.1, 0.1, 1e-3, 1e-3], rtol=1e-5)


def test_eps_is_adam_s():
    """A gradient far below eps hardly moves a parameter; with the default it moves as any other."""
    params, gradient = {"w": jnp.ones(3)}, {"w": jnp.full(3, 1e-6)}
    for eps, moved in ((1e-8, 1.0), (1e-3, 1e-3)):
        config = OptimConfig(learning_rate=1.0, schedule="constant", weight_decay=0.0, clip=0.0, eps=eps)
        optimizer = optim.make_optimizer(params, config, 10)
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        np.testing.assert_allclose(updates["w"], -moved, rtol=0.02)
