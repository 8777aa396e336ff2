"""Queries, heads and prompts of a dataset's own (off: nothing changes), and the decoder's switches of execution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.inference.forward import make_forward
from dataseg_jax.io.checkpoint import Checkpoint, module_row
from dataseg_jax.networks import dataset_specific
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.decoder.mask_decoder import MaskDecoder
from dataseg_jax.networks.types import Features
from dataseg_jax.text import load_vocabulary

B, S, E, K, T = 3, 32, 12, 64, 2
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=16, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=5, width=16, layers=4, heads=2, ffn=16, memory_levels=2, text_width=E),
)
OWN = dataclasses.replace(SPEC, dataset_specific=("coco", "ade"))
TASK = np.array([1, 0, 1], np.int32)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    classifiers = rng.normal(size=(B, K, E)).astype(np.float32)
    classifiers /= np.linalg.norm(classifiers, axis=-1, keepdims=True)
    valid = np.broadcast_to(np.arange(K) < 7, (B, K))
    return rng.integers(0, 256, (B, S, S, 3)).astype(np.uint8), np.where(valid[..., None], classifiers, 0), valid


def init(spec, *arguments):
    return jax.jit(models.build(spec).init)(jax.random.key(0), *arguments)["params"]


def apply(spec, params, *arguments):
    return jax.device_get(jax.jit(models.build(spec).apply)({"params": params}, *arguments))


@pytest.fixture(scope="module")
def shared(inputs):
    return init(SPEC, *inputs)


@pytest.fixture(scope="module")
def owned(inputs):
    """Parameters of the model with modules of its own; prompts start at 0, so here they are drawn."""
    params = init(OWN, *inputs, TASK)
    np.testing.assert_array_equal(params["classifier"]["prompts"], 0)
    prompts = jax.random.normal(jax.random.key(1), (T, E)) / 4
    return params | {"classifier": params["classifier"] | {"prompts": prompts}}


def by_path(tree):
    return {
        jax.tree_util.keystr(p, simple=True, separator="/"): x for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def is_own(path):
    return any(part in path for part in ("query_", "class_head", "mask_head", "prompts"))


def of_dataset(params, row):
    """The shared model that the images of one dataset see."""
    flat = {path: x[row] if is_own(path) else x for path, x in by_path(params).items()}
    names = iter(flat.values())
    params = jax.tree.map(lambda _: next(names), params)
    classifier = {k: v for k, v in params["classifier"].items() if k != "prompts"}
    return params | {"classifier": classifier}, params["classifier"]["prompts"]


def test_off_changes_nothing(shared, inputs):
    """No parameter more, and the task is not read."""
    assert not any("prompts" in path for path in by_path(shared))
    with_task = init(SPEC, *inputs, TASK)
    jax.tree.map(np.testing.assert_array_equal, shared, with_task)
    first, second = apply(SPEC, shared, *inputs), apply(SPEC, shared, *inputs, TASK)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_on_adds_an_axis_to_queries_and_heads_and_a_prompt(shared, owned):
    shared, owned = by_path(shared), by_path(owned)
    assert owned.keys() == shared.keys() | {"classifier/prompts"}
    assert owned["classifier/prompts"].shape == (T, E)
    for path in shared:
        assert owned[path].shape == ((T,) if is_own(path) else ()) + shared[path].shape, path
    for path in ("query_features", "class_head/kernel", "mask_head/layer_0/kernel"):
        first, second = owned[f"mask_decoder/{path}"]
        assert np.abs(first - second).max() > 0.1  # Drawn apart.


def test_an_image_sees_the_modules_of_its_dataset(owned, inputs):
    """A mixed batch equals each image through a shared model with its dataset's slices and prompted classifiers."""
    image, classifiers, valid = inputs
    mixed = apply(OWN, owned, *inputs, TASK)
    for b, row in enumerate(TASK):
        params, prompt = of_dataset(owned, row)
        w = np.where(valid[..., None], classifiers + np.asarray(prompt), 1)
        w = (w / np.linalg.norm(w, axis=-1, keepdims=True)).astype(np.float32)
        alone = apply(SPEC, params, image, w, valid)
        for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(mixed), strict=True):
            np.testing.assert_allclose(one[b], other[b], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_gradient_reaches_the_dataset_s_own_and_is_finite(owned, inputs):
    def loss(own):
        out = models.build(OWN).apply({"params": owned | own}, *inputs, np.zeros(B, np.int32))
        return (jax.nn.softmax(out.class_logits)[..., 0].sum() + jax.nn.sigmoid(out.mask_logits()).sum()) / 100

    own = {part: owned[part] for part in ("mask_decoder", "classifier")}
    for path, gradient in by_path(jax.jit(jax.grad(loss))(own)).items():
        assert np.isfinite(gradient).all(), path
        if is_own(path):
            assert np.abs(gradient[0]).max() > 0, path
            np.testing.assert_array_equal(gradient[1], 0, err_msg=path)


def test_without_a_task_it_is_told(owned, inputs):
    with pytest.raises(InputError, match="dataset-specific.*task"):
        models.build(OWN).apply({"params": owned}, *inputs)


def test_forward_takes_the_row(owned, inputs):
    image, classifiers, valid = inputs
    rows = classifiers[0], valid[0]
    forward = make_forward(models.build(OWN))
    same = np.broadcast_to(classifiers[0], classifiers.shape)
    for row in range(T):
        expected = apply(OWN, owned, image, same, valid, np.full(B, row, np.int32))
        classes, masks = forward(owned, image, *rows, row)
        np.testing.assert_allclose(classes, expected.class_logits[:, -1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(masks, expected.mask_logits(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("vocabulary", "dataset", "row"),
    [("coco_panoptic", None, 0), ("ade20k", None, 1), ("ade20k_panoptic", None, 1), ("camvid", "ade", 1),
     ("ade20k", "coco", 0)],
)  # fmt: skip
def test_whose_modules_serve_a_vocabulary(vocabulary, dataset, row):
    """Those of the dataset that is named, else of one that was trained on the same words, else it is asked for."""
    trained = {"coco": load_vocabulary("coco_panoptic"), "ade": load_vocabulary("ade20k")}
    checkpoint = Checkpoint(0, OWN, {}, S, "", trained, {})
    assert module_row(checkpoint, load_vocabulary(vocabulary), dataset) == row
    for words, name, said in (("camvid", None, "'camvid' belongs to none"), ("ade20k", "voc", "'voc' is none of them")):
        with pytest.raises(InputError, match=f"modules of coco, ade; .*{said}.*dataset=NAME"):
            module_row(checkpoint, load_vocabulary(words), name)
    assert module_row(dataclasses.replace(checkpoint, spec=SPEC), load_vocabulary("camvid"), dataset) == 0


def test_prompted_classifiers_have_unit_norm():
    rng = np.random.default_rng(3)
    w, prompts = rng.normal(size=(2, 4, E)).astype(np.float32), rng.normal(size=(T, E)).astype(np.float32)
    out = dataset_specific.prompted(jnp.asarray(w), jnp.asarray(prompts), np.array([1, 0]))
    expected = w + prompts[[1, 0]][:, None]
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    zeros = jax.grad(lambda w: dataset_specific.prompted(w, 0 * prompts, np.array([0, 1])).sum())(jnp.zeros_like(w))
    assert np.isfinite(zeros).all()


# Switches of execution: the same parameters, the same numbers.


@pytest.fixture(scope="module")
def decoded():
    """(shared or not, switches) -> parameters, answers and gradient of a mask decoder alone."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(B, 4, 4, 8)).astype(np.float32)
    levels = [rng.normal(size=(B, s, s, 8)).astype(np.float32) for s in (4, 2)]

    @functools.cache
    def run(own, **switches):
        decoder = MaskDecoder(
            queries=3, width=8, layers=4, heads=2, ffn=8, memory_levels=2, text_width=E, datasets=T * own, **switches
        )

        def decode(module, features):
            decoded = module(Features(levels, features), module.learned_queries(len(features), TASK), TASK)
            return decoded.class_embedding, decoded.mask_embedding

        params = jax.jit(functools.partial(decoder.init, method=decode))(jax.random.key(0), features)["params"]

        def loss(params, features):
            classes, masks = decoder.apply({"params": params}, features, method=decode)
            weight = jnp.arange(1.0, classes.shape[1] + 1)[:, None, None]  # Tells the decoder layers apart.
            return (weight * jnp.sin(classes)).sum() + (weight * jnp.cos(masks)).sum(), (classes, masks)

        gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, features)
        return jax.device_get((params, gradient))

    return run


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("switches", [{"remat": True}, {"scan": True}, {"remat": True, "scan": True}])
def test_remat_and_scan_change_no_number(decoded, switches, own):
    (params, expected), (same, answer) = decoded(own), decoded(own, **switches)
    jax.tree.map(np.testing.assert_array_equal, params, same)
    for a, b in zip(jax.tree.leaves(answer), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1, np.abs(b).max()))


def test_scan_needs_whole_rounds():
    decoder = {**SPEC.mask_decoder, "layers": 3, "scan": True}
    with pytest.raises(InputError, match="layers=3.*memory_levels=2"):
        models.build(dataclasses.replace(SPEC, mask_decoder=decoder))
