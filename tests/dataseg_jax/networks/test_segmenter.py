"""The model: what it may depend on, known parameter counts, and layers against their formulas."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.decoder.mask_decoder import MaskDecoder
from dataseg_jax.networks.primitives.layers import Attention, sine_positions
from dataseg_jax.networks.primitives.products import product
from dataseg_jax.networks.segmenter import Segmenter
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.networks.text_classifier import TextClassifier
from dataseg_jax.networks.types import Decoded, Features, Queries

B, S, E, K = 2, 32, 12, 64
SPEC = ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=5, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=E),
)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def inputs():
    """Two images of two datasets: 5 and 9 categories."""
    rng = np.random.default_rng(0)
    classifiers, valid = np.zeros((B, K, E), np.float32), np.zeros((B, K), bool)
    for b, k in enumerate((5, 9)):
        classifiers[b, :k], valid[b, :k] = unit(rng.normal(size=(k, E))), True
    return rng.integers(0, 256, (B, S, S, 3)).astype(np.uint8), classifiers, valid


@pytest.fixture(scope="module")
def model():
    return models.build(SPEC)


@pytest.fixture(scope="module")
def params(model, inputs):
    return jax.jit(model.init)(jax.random.key(0), *inputs)["params"]


@pytest.fixture(scope="module")
def apply(model, params):
    program = jax.jit(model.apply)
    return lambda *args: jax.device_get(program({"params": params}, *args))


def test_parameter_groups_and_shapes(params, apply, inputs):
    assert set(params) == {"backbone", "pixel_decoder", "mask_decoder", "classifier"}
    out = apply(*inputs)
    assert out.class_logits.shape == (B, 3, 5, K + 1)  # Initial queries and two layers.
    assert out.mask_embedding.shape == (B, 3, 5, 16) and out.features.shape == (B, S // 4, S // 4, 16)
    for layer in (0, -1):
        expected = np.einsum("bnd,bhwd->bnhw", out.mask_embedding[:, layer], out.features)
        np.testing.assert_allclose(out.mask_logits(layer), expected, rtol=1e-4, atol=1e-5)


def test_missing_categories_are_exactly_that(apply, inputs):
    """-1e9 in float32, probability 0; padding K further changes no other logit and no probability."""
    image, classifiers, valid = inputs
    before = apply(*inputs)
    pad = ((0, 0), (0, 64))
    after = apply(image, np.pad(classifiers, (*pad, (0, 0)), constant_values=3.0), np.pad(valid, pad))
    for out, k in ((before, K), (after, K + 64)):
        missing = np.broadcast_to(~np.pad(valid, ((0, 0), (0, k - K)))[:, None, None], out.class_logits[..., :k].shape)
        np.testing.assert_array_equal(out.class_logits[..., :k][missing], np.float32(-1e9))
        np.testing.assert_array_equal(jax.nn.softmax(out.class_logits)[..., :k][missing], 0)
        assert (out.class_logits[..., :k][~missing] > -1e3).all()
    columns = [*range(K), K + 64]
    np.testing.assert_allclose(after.class_logits[..., columns], before.class_logits, rtol=1e-5, atol=1e-5)
    p = [jax.nn.softmax(out.class_logits) for out in (after, before)]
    np.testing.assert_allclose(p[0][..., columns], p[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.mask_embedding, before.mask_embedding, rtol=1e-5, atol=1e-5)


def test_two_datasets_in_a_batch_equal_each_alone(apply, inputs):
    image, classifiers, valid = inputs
    mixed = apply(*inputs)
    for row in range(B):
        alone = apply(image, *(np.stack([x[row]] * B) for x in (classifiers, valid)))
        np.testing.assert_array_equal(alone.class_logits[row], mixed.class_logits[row])
        np.testing.assert_array_equal(alone.mask_embedding, mixed.mask_embedding)  # Masks know no vocabulary.
        assert not np.array_equal(alone.class_logits[1 - row], mixed.class_logits[1 - row])


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_where_it_matters(inputs):
    model = models.build(dataclasses.replace(SPEC, dtype="bfloat16"))
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert out.class_logits.dtype == jnp.float32
    assert out.features.dtype == out.mask_embedding.dtype == jnp.bfloat16
    assert jax.eval_shape(lambda out: out.mask_logits(), out).dtype == jnp.float32


class Echo(nn.Module):
    """Stands for any part; hands on what it got."""

    part: str
    queries: int = 1
    conditional: int = 0
    denoising: int = 0

    @nn.compact
    def __call__(self, *args, **_):
        if self.part == "mask_decoder":
            batch = len(args[1].content)
            return Decoded(jnp.zeros((batch, 1, 2, E)), jnp.zeros((batch, 1, 2, 3)))
        return args[0] if self.part == "backbone" else (args[0], [args[0]])

    def learned_queries(self, batch, task):
        return Queries(jnp.zeros((batch, 2, 3)), jnp.zeros((2, 3)))


def test_images_are_normalised(inputs):
    parts = {part: Echo(part) for part in ("backbone", "pixel_decoder", "mask_decoder")}
    model = Segmenter(**parts, classifier=TextClassifier(), mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    out, _ = model.init_with_output(jax.random.key(0), *inputs)
    np.testing.assert_allclose(out.features, (inputs[0] - np.array([10.0, 20, 30])) / [2, 4, 8], rtol=1e-6)


def test_text_classifier():
    """s (q . w_k), and s (q . background) last; s starts at 5, the background as a unit vector."""
    rng = np.random.default_rng(1)
    q = np.maximum(rng.normal(size=(B, 3, 4, E)), 0).astype(np.float32)
    w, valid = unit(rng.normal(size=(B, 7, E))).astype(np.float32), np.arange(7) < np.array([[3], [7]])
    logits, variables = TextClassifier().init_with_output(jax.random.key(3), q, w, valid)
    background, scale = variables["params"]["background"], variables["params"]["scale"]
    assert scale == 5
    np.testing.assert_allclose(np.linalg.norm(background), 1, rtol=1e-6)
    for b, layer, n in np.ndindex(B, 3, 4):
        expected = [5 * q[b, layer, n] @ w[b, k] if valid[b, k] else -1e9 for k in range(7)]
        expected.append(5 * q[b, layer, n] @ np.asarray(background))
        np.testing.assert_allclose(logits[b, layer, n], expected, rtol=1e-4, atol=1e-5)
    doubled = TextClassifier().apply({"params": {"background": background, "scale": 2 * scale}}, q, w, valid)
    shown = np.append(valid, [[True]] * B, 1)[:, None, None]
    np.testing.assert_allclose(np.where(shown, doubled, 0), np.where(shown, 2 * logits, 0), rtol=1e-5)


# The mask decoder, seen from outside: one query, one layer, what it can and cannot see.


def decode(module, features, levels):
    """(class embeddings, mask embeddings) of the module's learned queries."""
    decoded = module(Features(levels, features), module.learned_queries(len(features)))
    return decoded.class_embedding, decoded.mask_embedding


@pytest.fixture(scope="module")
def decoder():
    """(program, parameters, features, [fine level, coarse level]) of a decoder with one query and one layer."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(4, 8, 8, 6)).astype(np.float32)
    levels = [rng.normal(size=(4, s, s, 5)).astype(np.float32) for s in (4, 2)]
    module = MaskDecoder(queries=1, width=8, layers=1, heads=2, ffn=8, memory_levels=2, text_width=E)
    apply, init = (jax.jit(functools.partial(f, method=decode)) for f in (module.apply, module.init))
    return apply, init(jax.random.key(1), features, levels), features, levels


def with_constant_masks(params, embedding):
    """The same decoder with this mask embedding for every query."""
    head = params["params"]["mask_head"]["layer_2"]
    head = {"kernel": jnp.zeros_like(head["kernel"]), "bias": jnp.asarray(embedding, jnp.float32)}
    return {"params": params["params"] | {"mask_head": params["params"]["mask_head"] | {"layer_2": head}}}


def test_a_fully_masked_query_attends_everywhere(decoder):
    program, params, features, levels = decoder
    ones = np.ones_like(features)
    nowhere, everywhere = (program(with_constant_masks(params, sign * np.ones(6)), ones, levels)[0] for sign in (-1, 1))
    np.testing.assert_array_equal(nowhere, everywhere)
    half = np.where(np.arange(8)[:, None] < 4, ones, -ones)
    somewhere = program(with_constant_masks(params, np.ones(6)), half, levels)[0]
    assert np.abs(somewhere[:, 1] - everywhere[:, 1]).max() > 1e-4


def test_cross_attention_sees_where_the_resized_mask_is_on(decoder):
    """The mask is that of the last prediction, resized to the coarsest level and cut at probability one half."""
    program, params, features, levels = decoder
    classes, embeddings = program(params, features, levels)
    logits = jnp.einsum("bd,bhwd->bhw", embeddings[:, 0, 0], features)
    seen = np.array(jax.nn.sigmoid(jax.image.resize(logits, (4, 2, 2), "bilinear", antialias=False)) >= 0.5)
    seen[~seen.any((1, 2))] = True
    assert 0 < seen.sum() < seen.size
    for i, j in np.ndindex(2, 2):
        changed = levels[1].copy()
        changed[:, i, j] = np.random.default_rng(3).normal(size=(4, 5))
        difference = np.abs(program(params, features, [levels[0], changed])[0] - classes)
        np.testing.assert_array_equal(difference[:, 1].max((1, 2)) > 1e-6, seen[:, i, j])
        np.testing.assert_array_equal(difference[:, 0], 0)  # The initial queries have seen nothing yet.


def test_layers_go_round_from_coarse_to_fine(decoder):
    _, _, features, levels = decoder
    depth = 3
    module = MaskDecoder(queries=2, width=8, layers=depth, heads=2, ffn=8, memory_levels=2, text_width=E)
    program, init = (jax.jit(functools.partial(f, method=decode)) for f in (module.apply, module.init))
    params = init(jax.random.key(1), features, levels)
    params = with_constant_masks(params, np.zeros(6))  # All attend everywhere.
    first_seen = []
    for level in range(2):
        changed = [x + (i == level) * np.linspace(0, 1, 5, dtype=np.float32) for i, x in enumerate(levels)]
        difference = np.abs(program(params, features, changed)[0] - program(params, features, levels)[0]).max((0, 2, 3))
        first_seen.append(np.flatnonzero(difference > 1e-6)[0])
    assert first_seen == [2, 1]  # Coarse (the last of the list) first.


def test_attention_is_softmax_attention():
    rng = np.random.default_rng(4)
    q, kv = rng.normal(size=(2, 3, 8)).astype(np.float32), rng.normal(size=(2, 5, 8)).astype(np.float32)
    mask = rng.uniform(size=(2, 3, 5)) < 0.6
    mask[..., 0] = True
    out, variables = Attention(8, 2).init_with_output(jax.random.key(0), q, kv, kv + 1, mask)
    project = lambda x, name: x @ np.asarray(variables["params"][name]["kernel"], np.float64)  # noqa: E731
    heads = [project(x, name).reshape(2, -1, 2, 4) for x, name in ((q, "q"), (kv, "k"), (kv + 1, "v"))]
    scores = np.where(mask[:, None], np.einsum("bqhd,bkhd->bhqk", *heads[:2]) / 2, -np.inf)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = project(np.einsum("bhqk,bkhd->bqhd", weights, heads[2]).reshape(2, 3, 8), "out")
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_sine_positions():
    """DETR's code, a loop: y in the first half, x in the second; sine and cosine alternate."""
    h, w, c = 3, 5, 8
    code = sine_positions(h, w, c)
    for axis, i, j, k in np.ndindex(2, h, w, c // 2):
        place, length = ((i, h), (j, w))[axis]
        angle = (place + 1) / (length + 1e-6) * 2 * np.pi / 10000 ** (2 * (k // 2) / (c // 2))
        np.testing.assert_allclose(code[i, j, axis * c // 2 + k], np.cos(angle) if k % 2 else np.sin(angle), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": {"name": "vgg"}}, ("backbone", "vgg", "resnet")),
        ({"backbone": {"width": 16}}, ("backbone", "None", "resnet")),
        ({"backbone": {"name": "resnet", "depth": 50}}, ("backbone", "depth", "stage_sizes")),
        ({"pixel_decoder": {"name": "transformer_fpn", "layer": 3}}, ("pixel_decoder", "layer", "layers")),
        ({"mask_decoder": {"num_queries": 100}}, ("mask_decoder", "num_queries", "queries")),
        ({"classifier": {"temperature": 1}}, ("classifier", "temperature", "initial_scale")),
        ({"dtype": "float16"}, ("dtype", "float16", "bfloat16")),
    ],
)
def test_bad_specs(change, words):
    with pytest.raises(InputError) as error:
        models.build(dataclasses.replace(SPEC, **change))
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize(
    "part, fields, said",
    [
        ("mask_decoder", {"memory_levels": 4}, "memory_levels=4"),
        ("mask_decoder", {"width": 18, "heads": 3}, "mask_decoder.width=18"),
        ("pixel_decoder", {"width": 15, "heads": 3}, "pixel_decoder.width=15"),
    ],
)
def test_shapes_that_cannot_work_are_told_before_jit(part, fields, said):
    spec = dataclasses.replace(SPEC, **{part: {**getattr(SPEC, part), **fields}})
    with pytest.raises(InputError, match=said):
        models.build(spec)


VITDET = dataclasses.replace(
    SPEC,
    backbone=dict(name="vitdet", width=16, depth=2, heads=2, window=2, global_blocks=(1,), pretrain_grid=2),
    pixel_decoder=dict(name="simple_pyramid", width=8),
    mask_decoder=dict(queries=3, width=16, layers=4, heads=2, ffn=16, memory_levels=4, text_width=E),
)


def test_vitdet_with_the_simple_pyramid(inputs):
    """One map, four levels: memory may come from all of them, and masks are at stride 4."""
    image = np.random.default_rng(5).integers(0, 256, (B, 64, 96, 3)).astype(np.uint8)
    model = models.build(VITDET)
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), image, *inputs[1:])
    assert set(variables["params"]) == {"backbone", "pixel_decoder", "mask_decoder", "classifier"}
    assert out.class_logits.shape == (B, 5, 3, K + 1) and out.features.shape == (B, 16, 24, 8)
    assert {f"memory_{i}" for i in range(4)} < set(variables["params"]["mask_decoder"])
    assert (model.level_strides, model.multiple) == ((4, 8, 16, 32), 32)
    assert (models.build(SPEC).level_strides, models.build(SPEC).multiple) == ((4, 8), 8)


@pytest.mark.slow
def test_scan_and_drop_path_inside_the_whole_model(inputs):
    """The parameters and the key reach the blocks through the model: the same answer as the plain loop's."""
    fields = VITDET.backbone | dict(depth=4, global_blocks=(1, 3), drop_path=0.5)
    plain, scanned = (
        models.build(dataclasses.replace(VITDET, backbone=fields | dict(scan=scan, remat=scan)))
        for scan in (False, True)
    )
    params = jax.jit(plain.init)(jax.random.key(0), *inputs)
    outs = [
        jax.jit(functools.partial(model.apply, train=True))(params, *inputs, rngs={"dropout": jax.random.key(1)})
        for model in (plain, scanned)
    ]
    np.testing.assert_allclose(outs[0].features, outs[1].features, rtol=1e-4, atol=1e-4)
    still = jax.jit(plain.apply)(params, *inputs)
    assert np.abs(outs[0].features - still.features).max() > 1e-2


@pytest.mark.parametrize(
    "spec, change, said",
    [
        (VITDET, {"pixel_decoder": SPEC.pixel_decoder}, "stride 16, masks need stride 4; vitdet goes with simple_pyr"),
        (SPEC, {"pixel_decoder": VITDET.pixel_decoder}, "simple_pyramid.*at stride 16.*lie at 4, 8; resnet goes with"),
        (VITDET, {"backbone": VITDET.backbone | {"patch": 8}}, "simple_pyramid.*at stride 16.*lie at 8"),
        (VITDET, {"mask_decoder": VITDET.mask_decoder | {"memory_levels": 5}}, "memory_levels=5: it must be 1 to 4"),
        (VITDET, {"backbone": VITDET.backbone | {"heads": 3}}, "model.backbone.width=16.*3 heads"),
    ],
)
def test_parts_that_do_not_fit_each_other(spec, change, said):
    with pytest.raises(InputError, match=said) as error:
        models.build(dataclasses.replace(spec, **change))
    assert "\n" not in str(error.value)


def test_products_of_bfloat16_have_float32_results_and_bfloat16_gradients():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 3, 5), (2, 4, 5)))
    plain = lambda a, b: jnp.einsum("bnc,bmc->bnm", a, b)  # noqa: E731
    mixed = lambda a, b: product("bnc,bmc->bnm", a, b)  # noqa: E731
    for fn in (lambda f: f(a, b), lambda f: jax.grad(lambda *ab: (f(*ab) ** 2).sum(), (0, 1))(a, b)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), fn(plain), fn(mixed))
    half = [jnp.asarray(x, jnp.bfloat16) for x in (a, b)]
    assert mixed(*half).dtype == jnp.float32
    jaxpr = jax.make_jaxpr(jax.grad(lambda *ab: mixed(*ab).sum(), (0, 1)))(*half)
    kinds = {
        str(v.aval.dtype) for e in all_equations(jaxpr.jaxpr) if e.primitive.name == "dot_general" for v in e.invars
    }
    assert kinds == {"bfloat16"}


def all_equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            if hasattr(getattr(value, "jaxpr", value), "eqns"):
                yield from all_equations(getattr(value, "jaxpr", value))


@pytest.mark.slow
def test_masks_of_a_pyramid_start_unsaturated():
    """The deviation of mask logits at initialisation; it was 12 at full width."""
    wide = dataclasses.replace(
        VITDET,
        pixel_decoder={**VITDET.pixel_decoder, "width": 64},
        mask_decoder={**VITDET.mask_decoder, "width": 64, "queries": 8},
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    arguments = image, np.zeros((1, 7, E), np.float32), np.ones((1, 7), bool)
    proposals, _ = jax.jit(models.build(wide).init_with_output)(jax.random.key(0), *arguments)
    assert 0.05 < np.std(proposals.mask_logits(-1)) < 1.5
