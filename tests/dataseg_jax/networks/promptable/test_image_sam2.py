"""The promptable network in SAM 2's form: padding, skips, the vector of no memory, the object score, gradients."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.spec import ModelSpec, build
from dataseg_jax.networks.types import Features
from tests.dataseg_jax.networks.backbones.test_vitdet import random_params

SIDE, GRID, WIDTH = 64, 4, 16
SPEC = ModelSpec(
    backbone=dict(name="hiera", width=8, heads=1, depths=(1, 1, 1, 1), windows=(8, 4, 2, 2), global_blocks=(2,)),
    pixel_decoder=dict(name="hiera_fpn", width=WIDTH),
    prompt_encoder=dict(width=WIDTH, mask_channels=16, pad="points_and_boxes"),
    mask_decoder=dict(width=WIDTH, heads=2, ffn=32, iou_hidden=16, iou_sigmoid=True, object_score=True, skips=True),
    no_memory=True,
    framing="square",
)
IMAGES, PROMPTS, POINTS = 3, 4, 3
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
GIVEN = no_prompts(IMAGES, PROMPTS, POINTS).replace(
    points=RNG.uniform(0, SIDE, (IMAGES, PROMPTS, POINTS, 2)).astype(np.float32),
    labels=RNG.integers(-1, 2, (IMAGES, PROMPTS, POINTS)),
    point_valid=RNG.random((IMAGES, PROMPTS, POINTS)) < 0.6,
    box=RNG.uniform(0, SIDE, (IMAGES, PROMPTS, 4)).astype(np.float32),
    box_valid=RNG.random((IMAGES, PROMPTS)) < 0.5,
)


@pytest.fixture(scope="module")
def params():
    return random_params(build(SPEC), IMAGE[:1], no_prompts(1))


@functools.cache
def program(method, dtype):
    model = build(dataclasses.replace(SPEC, dtype=dtype))
    return jax.jit(lambda params, *x: model.apply({"params": params}, *x, method=method))


def run(params, *arguments, method="__call__", dtype="float32"):
    return program(method, dtype)(params, *arguments)


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one, other)


def test_images_alone_and_what_padding_holds(params):
    expected = run(params, IMAGE, GIVEN)
    assert expected.object_score.shape == (IMAGES, PROMPTS) and expected.object_score.std() > 0
    assert (expected.iou > 0).all() and (expected.iou < 1).all()
    garbage = GIVEN.replace(
        points=np.where(GIVEN.point_valid[..., None], GIVEN.points, 1e4),
        labels=np.where(GIVEN.point_valid, GIVEN.labels, 1),
        box=np.where(GIVEN.box_valid[..., None], GIVEN.box, -50),
    )
    assert_close(run(params, IMAGE, garbage), expected)
    alone = jax.tree.map(lambda x: x[1:2], (IMAGE, GIVEN))
    assert_close(run(params, *alone), jax.tree.map(lambda x: x[1:2], expected))


def test_features_of_one_frame_serve_several_objects(params):
    """`decode` takes an embedding of each, with levels that they share, and adds no vector."""
    features = run(params, IMAGE[:1], method="encode")
    added = RNG.normal(size=(IMAGES, GRID, GRID, WIDTH)).astype(np.float32)
    embedding = features.mask_features + added
    shared = run(params, Features(features.levels, embedding), GIVEN, method="decode")
    repeated = tuple(x.repeat(IMAGES, 0) for x in features.levels)
    assert_close(run(params, Features(repeated, embedding), GIVEN, method="decode"), shared)
    still = Features(repeated, embedding - params["no_memory_embedding"])
    assert_close(run(params, still, GIVEN, method="answer_prompts"), shared)
    for i in range(2):  # Both are used.
        fewer = Features(tuple(x * (j != i) for j, x in enumerate(repeated)), embedding)
        other = run(params, fewer, GIVEN, method="decode")
        assert np.abs(other.masks - shared.masks).max() > 1e-4
        np.testing.assert_allclose(other.iou, shared.iou, atol=2e-5)


def test_bfloat16_is_close(params):
    ours, expected = run(params, IMAGE, GIVEN, dtype="bfloat16"), run(params, IMAGE, GIVEN)
    assert ours.masks.dtype == ours.iou.dtype == ours.object_score.dtype == jnp.float32
    assert np.abs(ours.masks - expected.masks).mean() / np.abs(expected.masks).mean() < 0.1


def test_gradients_are_finite_and_reach_every_parameter(params):
    given = GIVEN.replace(
        mask=RNG.normal(size=(IMAGES, PROMPTS, 4 * GRID, 4 * GRID)).astype(np.float32),
        mask_valid=RNG.random((IMAGES, PROMPTS)) < 0.5,
    )

    def loss(params):
        answers = build(SPEC).apply({"params": params}, IMAGE, given)
        return (answers.masks**2).mean() + (answers.iou**2).sum() + (answers.object_score**2).sum()

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)
