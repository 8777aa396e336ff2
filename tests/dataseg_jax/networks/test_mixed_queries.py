"""Conditional queries, boxes and fusion (MQ-Former 3.2, Mask DINO), against numpy and by what may not change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks import boxes as geometry
from dataseg_jax.networks.decoder.decoder_layer import DualFusion
from dataseg_jax.networks.queries.conditional import anchors
from dataseg_jax.networks.spec import ModelSpec, build

B, SIDE, K, E, LEARNABLE, CHOSEN = 2, 64, 5, 6, 3, 4
SPEC = ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=8, layers=1, heads=2, ffn=8),
    mask_decoder=dict(
        queries=LEARNABLE, conditional=CHOSEN, boxes=True, fusion="dual", width=8, layers=2, heads=2, ffn=8,
        memory_levels=2, text_width=E,
    ),
    classifier=dict(loss="focal"),
)  # fmt: skip


def decoder(**fields):
    return dataclasses.replace(SPEC, mask_decoder={**SPEC.mask_decoder, **fields})


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    words = rng.normal(size=(B, K, E)).astype(np.float32)
    words /= np.linalg.norm(words, axis=-1, keepdims=True)
    image = rng.integers(0, 256, (B, SIDE, SIDE, 3)).astype(np.uint8)
    return image, words, np.array([[True] * K, [True] * 3 + [False] * 2]), np.zeros(B, np.int32)


@pytest.fixture(scope="module")
def params(inputs):
    """Of the whole model, none of them zero: a box head that changes nothing would hide mistakes."""
    tree = jax.jit(build(SPEC).init)(jax.random.key(0), *inputs)["params"]
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(1)
    return jax.tree.unflatten(structure, [x + 0.1 * rng.normal(size=x.shape).astype(np.float32) for x in leaves])


@pytest.fixture(scope="module")
def proposals(inputs, params):
    return jax.jit(build(SPEC).apply)({"params": params}, *inputs)


def test_what_comes_out(proposals):
    n = LEARNABLE + CHOSEN
    assert proposals.boxes.shape == (B, 3, n, 4) and proposals.class_logits.shape == (B, 3, n, K + 1)
    assert (proposals.boxes > 0).all() and (proposals.boxes < 1).all()
    assert proposals.conditional.tolist() == [[False] * LEARNABLE + [True] * CHOSEN] * B
    assert proposals.independent and proposals.valid is None and proposals.group is None
    assert np.ptp(np.asarray(proposals.class_logits[..., -1])) == 0


def test_the_best_tokens_are_chosen(inputs, params):
    """Token by token: projection, norm, the class in the image's own vocabulary, the anchor moved by the box head."""
    model = build(SPEC)
    features = jax.jit(lambda p, x: model.apply({"params": p}, x, method="encode"))(params, inputs[0])
    queries = jax.jit(lambda *a: model.apply({"params": a[0]}, *a[1:], method="queries"))(params, features, *inputs[1:])
    p, levels = jax.tree.map(np.asarray, params["mask_decoder"]), features.levels[-2:]
    maps = [np.asarray(x) @ p[f"memory_{1 - i}"]["kernel"] + p[f"memory_{1 - i}"]["bias"] for i, x in enumerate(levels)]
    for image in range(B):
        found = []
        for level, memory in enumerate(maps):
            h, w = memory.shape[1:3]
            for y, x in np.ndindex(h, w):
                anchor = np.array([(x + 0.5) / w, (y + 0.5) / h, 0.05 * 2**level, 0.05 * 2**level])
                if (anchor <= 0.01).any() or (anchor >= 0.99).any():
                    continue
                token = normed(linear(memory[image, y, x], p["selection"]["token"]), p["selection"]["token_norm"])
                q = np.maximum(linear(token, p["class_head"]), 0)
                score = max(q @ inputs[1][image, k] for k in range(K) if inputs[2][image, k])
                found.append((score, token, refined(token, anchor, p["box_head"])))
        found.sort(key=lambda one: -one[0])
        for i, (_, token, box) in enumerate(found[:CHOSEN]):
            np.testing.assert_allclose(queries.content[image, LEARNABLE + i], token, atol=1e-4)
            np.testing.assert_allclose(queries.boxes[image, LEARNABLE + i], box, atol=1e-5)


def linear(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def normed(x, layer):
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * layer["scale"] + layer["bias"]


def refined(x, box, head):
    for i in range(3):
        x = linear(x, head["mlp"][f"layer_{i}"])
        x = np.maximum(x, 0) if i < 2 else x
    box = np.clip(box, 1e-5, 1 - 1e-5)
    return 1 / (1 + np.exp(-(x + np.log(box / (1 - box)))))


def test_a_chosen_token_is_trained_by_its_first_prediction_alone(inputs, params):
    model = build(SPEC)

    def sum_of(layers, params):
        out = model.apply({"params": params}, *inputs)
        return sum(x[:, layers].sum() for x in (out.class_logits[..., :K], out.mask_embedding, out.boxes))

    def gradient(layers):
        return jax.jit(jax.grad(lambda p: sum_of(layers, p)))(params)["mask_decoder"]["selection"]

    first, later = gradient(slice(0, 1)), gradient(slice(1, None))
    assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(first["token"]))
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), later)


def test_learned_boxes_are_trained_by_every_layer(inputs, params):
    model = build(SPEC)

    def of_layers(boxes):
        decoder = {**params["mask_decoder"], "query_boxes": boxes}
        return model.apply({"params": {**params, "mask_decoder": decoder}}, *inputs).boxes.sum((0, 2, 3))

    gradients = jax.jit(jax.jacrev(of_layers))(params["mask_decoder"]["query_boxes"])
    assert gradients.shape == (3, LEARNABLE, 4) and (np.abs(gradients).max((1, 2)) > 0).all()


def test_words_that_an_image_lacks_change_nothing(inputs, params, proposals):
    image, words, valid, task = inputs
    more = np.concatenate([words, np.ones((B, 3, E), np.float32)], 1)
    padded = jax.jit(build(SPEC).apply)({"params": params}, image, more, np.pad(valid, ((0, 0), (0, 3))), task)
    np.testing.assert_allclose(padded.boxes, proposals.boxes, atol=1e-5)
    np.testing.assert_allclose(padded.class_logits[..., :K], proposals.class_logits[..., :K], rtol=1e-4, atol=1e-4)


def test_fewer_tokens_than_queries(inputs, params):
    """16 tokens of stride 8 and 4 of stride 16 lie far enough inside; the other queries are not valid."""
    spec = decoder(conditional=100)
    small = inputs[0][:, :32, :32]
    rest = inputs[1:]
    out, variables = jax.jit(build(spec).init_with_output)(jax.random.key(0), small, *rest)
    assert out.valid.sum(-1).tolist() == [LEARNABLE + 16 + 4] * B
    fewer = jax.jit(build(decoder(conditional=20)).apply)(variables, small, *rest)
    assert fewer.valid is None
    np.testing.assert_allclose(out.class_logits[:, :, : LEARNABLE + 20], fewer.class_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["fusion", "box_bias", "deformable"])
def test_scan_and_remat_change_nothing(inputs, kind):
    more = {} if kind == "fusion" else {"fusion": "none", kind: True}
    plain, variables = jax.jit(build(decoder(**more)).init_with_output)(jax.random.key(1), *inputs)
    for fields in (dict(remat=True), dict(scan=True, remat=True)):
        other = jax.jit(build(decoder(**more, **fields)).apply)(variables, *inputs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, other)


def test_queries_of_one_kind_alone(inputs):
    """No parameter is empty: such arrays cannot be saved."""
    for fields in (dict(queries=0), dict(conditional=0)):
        out, variables = jax.jit(build(decoder(fusion="none", **fields)).init_with_output)(jax.random.key(0), *inputs)
        assert out.boxes.shape[2] == (CHOSEN if fields == {"queries": 0} else LEARNABLE)
        assert all(leaf.size for leaf in jax.tree.leaves(variables))


def test_dual_fusion_reads_the_other_kind_alone():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, LEARNABLE + CHOSEN + 2, 8)).astype(np.float32)
    module = DualFusion(LEARNABLE, CHOSEN, 2, jnp.float32)
    run, params = jax.jit(module.apply), module.init(jax.random.key(3), x, 0 * x, None)
    out = run(params, x, 0 * x, None)
    np.testing.assert_array_equal(out[:, -2:], x[:, -2:])
    for changed, reads in ((0, range(LEARNABLE, LEARNABLE + CHOSEN)), (LEARNABLE, range(LEARNABLE))):
        other = x.copy()
        other[:, changed] += 1
        moved = np.abs(run(params, other, 0 * x, None) - out).max((0, 2)) > 1e-6
        assert set(np.flatnonzero(moved)) == {changed, *reads}
    nothing = jnp.zeros((1, x.shape[1], x.shape[1]), bool)  # No query of the other kind: only the norm is left.
    alone = run(params, x, 0 * x, nothing)[0, : LEARNABLE + CHOSEN]
    np.testing.assert_allclose(alone, [normed(row, {"scale": 1, "bias": 0}) for row in x[0, :-2]], atol=1e-5)


def test_giou_against_areas():
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 0.6, (2, 20, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.4, low.shape)], -1).astype(np.float32)
    for a, b, found in zip(*boxes, geometry.giou(*boxes), strict=True):
        w, h = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
        areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
        union = sum(areas) - w * h
        hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        np.testing.assert_allclose(found, w * h / union - (hull - union) / hull, atol=1e-5)
    np.testing.assert_allclose(geometry.to_corners(geometry.to_centres(boxes)), boxes, atol=1e-6)
    assert np.isfinite(jax.grad(lambda a: geometry.giou(a, a).sum())(jnp.zeros((3, 4)))).all()


def test_anchors_are_of_the_finest_level_first():
    boxes, usable = anchors([(2, 4), (1, 1)])
    assert boxes[1].tolist() == pytest.approx([0.375, 0.25, 0.05, 0.05]) and boxes[-1, 2] == pytest.approx(0.1)
    assert usable.all() and not anchors([(200, 200)])[1][0]


@pytest.mark.parametrize(
    "fields, said",
    [
        (dict(boxes=False), "conditional=4 is for queries with boxes"),
        (dict(boxes=False, conditional=0, fusion="none", box_bias=True), "box_bias=True is for queries with boxes"),
        (dict(fusion="triple"), "fusion='triple'"),
        (dict(queries=0), "give some of both"),
        (dict(queries=0, conditional=0, fusion="none"), "one of them must be above"),
        (dict(deformable=True), "neither box_bias nor fusion"),
    ],
)
def test_decoders_that_cannot_be_are_named(fields, said):
    with pytest.raises(InputError, match=said):
        build(decoder(**fields))
    with pytest.raises(InputError, match="classifier.loss='hinge'"):
        build(dataclasses.replace(SPEC, classifier=dict(loss="hinge")))
