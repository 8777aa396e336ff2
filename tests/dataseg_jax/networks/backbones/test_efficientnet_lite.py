"""EfficientNet-Lite: published sizes, strides, norms, drop path, layers, and a small one that is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.backbones import EfficientNetLite
from dataseg_jax.training.optim import OptimConfig, decay_mask, multipliers

# Parameters of the published networks (4.7, 5.4 and 6.1 million), less the 1280-channel head and the 1000 classes.
HEAD = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000
LITE = {
    0: (1.0, 1.0, 4_652_008 - HEAD, (24, 40, 112, 320), 16),
    1: (1.0, 1.1, 5_416_680 - HEAD, (24, 40, 112, 320), 21),
    2: (1.1, 1.2, 6_092_072 - HEAD - 32 * 1280, (24, 48, 120, 352), 21),
}
TINY = dict(width=0.25, depth=0.25)


@pytest.mark.parametrize("lite", LITE)
@pytest.mark.parametrize("norm", ["frozen_batch", "group"])
def test_sizes(lite, norm):
    width, depth, known, channels, blocks = LITE[lite]
    module = EfficientNetLite(width=width, depth=depth, norm=norm)
    x = jax.ShapeDtypeStruct((2, 64, 90, 3), jnp.float32)
    maps, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), x)
    sizes = {name: leaf.size for name, leaf in flatten_dict(variables["params"], sep="/").items()}
    statistics = sum(size for name, size in sizes.items() if name.endswith(("frozen_mean", "frozen_var")))
    assert sum(sizes.values()) - statistics == known
    assert len(module.blocks) == blocks and module.layers == blocks + 1
    assert [m.shape for m in maps] == [
        (2, -(-64 // s), -(-90 // s), c) for s, c in zip(module.strides, channels, strict=True)
    ]


def test_frozen_statistics_get_no_gradient_and_no_rate():
    module = EfficientNetLite(**TINY)
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    gradient = jax.jit(jax.grad(lambda p: sum((y**2).sum() for y in module.apply({"params": p}, x))))(params)
    rates = flatten_dict(multipliers({"backbone": params}, OptimConfig())["backbone"], sep="/")
    for name, leaf in flatten_dict(gradient, sep="/").items():
        assert np.any(leaf != 0) != ("frozen_" in name), name
        assert (rates[name] == 0) == ("frozen_" in name), name


def test_layers_and_decay():
    module = EfficientNetLite(**TINY, norm="group")
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = {"backbone": jax.eval_shape(module.init, jax.random.key(0), x)["params"]}
    rates = flatten_dict(multipliers(params, OptimConfig(backbone_multiplier=1.0, layer_decay=0.5), module), sep="/")
    assert module.layers == 8
    assert rates["backbone/stem_conv/kernel"] == 0.5**8
    assert rates["backbone/block_0/depthwise/kernel"] == 0.5**7
    assert rates["backbone/block_6/project_norm/gn/scale"] == 0.5
    for name, decays in flatten_dict(decay_mask(params), sep="/").items():
        assert decays == name.endswith("/kernel"), name


@pytest.mark.slow
def test_drop_path_skips_blocks_of_single_images():
    module = EfficientNetLite(**{**TINY, "depth": 0.6}, norm="group", drop_path=0.9)
    x = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32).repeat(8, 0)
    params = jax.jit(module.init)(jax.random.key(0), x)["params"]
    # Norms that start at 0 have residual blocks add nothing.
    params = jax.tree_util.tree_map_with_path(lambda p, a: a + ("scale" in str(p[-1])), params)

    @jax.jit
    def run(key):
        return module.apply({"params": params}, x, train=True, rngs={"dropout": key})[-2]

    a, again, other = run(jax.random.key(1)), run(jax.random.key(1)), run(jax.random.key(2))
    np.testing.assert_array_equal(a, again)
    assert np.any(a != other)
    assert np.any(a[0] != a[1:])  # Equal images, other blocks.
    still = jax.jit(module.apply)({"params": params}, x)[-2]
    np.testing.assert_allclose(still, still[:1].repeat(8, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_bfloat16():
    module, exact = (EfficientNetLite(**TINY, norm="group", dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
    x = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)
    params = jax.jit(exact.init)(jax.random.key(0), x)
    for found, expected in zip(jax.jit(module.apply)(params, x), jax.jit(exact.apply)(params, x), strict=True):
        assert found.dtype == jnp.bfloat16
        error = np.linalg.norm(np.asarray(found, np.float32) - expected) / np.linalg.norm(expected)
        assert error < 0.1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 0.0}, "model.backbone.width=0.0: it must be above 0"),
        ({"depth": -1.0}, "model.backbone.depth=-1.0: it must be above 0"),
        ({"norm": "batch"}, "model.backbone.norm='batch': it is one of group, frozen_batch"),
        ({"drop_path": 1.0}, "model.backbone.drop_path=1.0: it must be at least 0 and below 1"),
    ],
)
def test_bad_fields_are_named(fields, said):
    with pytest.raises(InputError) as error:
        EfficientNetLite(**fields)
    assert said in str(error.value)


def spec(pixel_decoder):
    return models.ModelSpec(
        backbone=dict(name="efficientnet_lite", norm="group", **TINY),
        pixel_decoder=pixel_decoder,
        mask_decoder=dict(queries=4, width=16, layers=1, heads=2, ffn=16, memory_levels=3, text_width=8),
    )


def test_the_pixel_decoders_strides():
    model = models.build(spec(dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16)))
    assert model.level_strides == (4, 8, 16, 32) and model.multiple == 32
    with pytest.raises(InputError, match="simple_pyramid.*takes one map at stride 16"):
        models.build(spec(dict(name="simple_pyramid", width=16)))
