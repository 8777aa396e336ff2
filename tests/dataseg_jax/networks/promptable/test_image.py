"""The promptable network: batches of images, what padding may not change, switches of the backbone, gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.queries.prompts import no_prompts
from dataseg_jax.networks.spec import ModelSpec, build

SIDE, GRID, WIDTH = 64, 8, 16
BACKBONE = dict(name="vitdet", width=16, depth=4, heads=2, window=3, global_blocks=(1, 3), patch=8, pretrain_grid=8)
SPEC = ModelSpec(
    backbone=BACKBONE,
    pixel_decoder=dict(name="sam_neck", width=WIDTH),
    prompt_encoder=dict(width=WIDTH, mask_channels=16),
    mask_decoder=dict(width=WIDTH, heads=2, ffn=32, iou_hidden=16),
)
IMAGES, PROMPTS, POINTS = 8, 5, 3
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
SIZE = RNG.integers(20, SIDE + 1, (IMAGES, 2))
GIVEN = no_prompts(IMAGES, PROMPTS, POINTS).replace(
    points=RNG.uniform(0, SIDE, (IMAGES, PROMPTS, POINTS, 2)).astype(np.float32),
    labels=RNG.integers(-1, 2, (IMAGES, PROMPTS, POINTS)),
    point_valid=RNG.random((IMAGES, PROMPTS, POINTS)) < 0.6,
    box=RNG.uniform(0, SIDE, (IMAGES, PROMPTS, 4)).astype(np.float32),
    box_valid=RNG.random((IMAGES, PROMPTS)) < 0.5,
    mask=RNG.normal(size=(IMAGES, PROMPTS, 4 * GRID, 4 * GRID)).astype(np.float32),
    mask_valid=RNG.random((IMAGES, PROMPTS)) < 0.5,
)


@pytest.fixture(scope="module")
def params():
    return build(SPEC).init(jax.random.key(0), IMAGE[:1], no_prompts(1))["params"]


def run(params, *arguments, spec=SPEC):
    return jax.jit(build(spec).apply)({"params": params}, *arguments)


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one, other)


def test_one_image_or_eight(params):
    together = run(params, IMAGE, GIVEN, SIZE)
    assert together.masks.shape == (IMAGES, PROMPTS, 4, 4 * GRID, 4 * GRID)
    for i in range(IMAGES):
        one = jax.tree.map(lambda x, i=i: x[i : i + 1], (IMAGE, GIVEN, SIZE))
        assert_close(run(params, *one), jax.tree.map(lambda x, i=i: x[i : i + 1], together))


def test_padding_holds_anything(params):
    """Of pixels, points, boxes and masks."""
    expected = run(params, IMAGE, GIVEN, SIZE)
    rows, columns = (np.arange(SIDE) < SIZE[:, i, None] for i in (0, 1))
    inside = (rows[:, :, None] & columns[:, None])[..., None]
    garbage = GIVEN.replace(
        points=np.where(GIVEN.point_valid[..., None], GIVEN.points, 1e4),
        labels=np.where(GIVEN.point_valid, GIVEN.labels, 1),
        box=np.where(GIVEN.box_valid[..., None], GIVEN.box, -50),
        mask=np.where(GIVEN.mask_valid[..., None, None], GIVEN.mask, 77),
    )
    assert_close(run(params, np.where(inside, IMAGE, 123), garbage, SIZE), expected)
    more = jax.tree.map(lambda x: np.concatenate([x, x[:, :2]], 1), garbage)  # Prompts beyond the others.
    more = more.replace(
        points=np.pad(more.points, ((0, 0), (0, 0), (4, 1), (0, 0)), constant_values=3),
        labels=np.pad(more.labels, ((0, 0), (0, 0), (4, 1)), constant_values=1),
        point_valid=np.pad(more.point_valid, ((0, 0), (0, 0), (4, 1))),
    )
    assert_close(jax.tree.map(lambda x: x[:, :PROMPTS], run(params, IMAGE, more, SIZE)), expected)


def test_order_of_prompts(params):
    order = np.random.default_rng(1).permutation(PROMPTS)
    turned = jax.tree.map(lambda x: x[:, order], GIVEN)
    expected = jax.tree.map(lambda x: x[:, order], run(params, IMAGE, GIVEN))
    assert_close(run(params, IMAGE, turned), expected)


def test_all_masks_absent_is_no_mask(params):
    """`mask_valid` False everywhere, and no `mask` at all: another program, the same answers."""
    expected = run(params, IMAGE, GIVEN.replace(mask_valid=np.zeros((IMAGES, PROMPTS), bool)))
    assert_close(run(params, IMAGE, GIVEN.replace(mask=None, mask_valid=None)), expected)


def test_the_embedding_is_not_repeated_before_prompts_change_it(params):
    """The first layer reads the image once for all prompts."""
    for mask, entries in ((None, 1), (GIVEN.mask, PROMPTS)):
        given = GIVEN.replace(mask=mask, mask_valid=None)
        _, seen = jax.eval_shape(
            lambda given: build(SPEC).apply({"params": params}, IMAGE, given, capture_intermediates=True), given
        )
        layers = seen["intermediates"]["mask_decoder"]
        assert layers["layer_0"]["token_to_image"]["k"]["__call__"][0].shape[1] == entries
        assert layers["layer_0"]["image_to_token"]["q"]["__call__"][0].shape[1] == entries
        assert layers["layer_1"]["token_to_image"]["k"]["__call__"][0].shape[1] == PROMPTS


@pytest.mark.parametrize("switches", [dict(remat=True), dict(scan=True), dict(remat=True, scan=True)])
def test_switches_change_no_answer(params, switches):
    spec = dataclasses.replace(SPEC, backbone=BACKBONE | switches)
    assert_close(run(params, IMAGE, GIVEN, SIZE, spec=spec), run(params, IMAGE, GIVEN, SIZE))


def test_bfloat16_is_close(params):
    ours = run(params, IMAGE, GIVEN, SIZE, spec=dataclasses.replace(SPEC, dtype="bfloat16"))
    expected = run(params, IMAGE, GIVEN, SIZE)
    assert ours.masks.dtype == ours.iou.dtype == jnp.float32
    error = np.abs(ours.masks - expected.masks).mean() / np.abs(expected.masks).mean()
    assert error < 0.1


def test_gradients_are_finite_and_reach_every_parameter(params):
    """Also where a prompt is all padding; a mask that is no prompt reaches nothing."""
    empty = GIVEN.replace(
        point_valid=GIVEN.point_valid & (np.arange(PROMPTS) > 0)[:, None],
        box_valid=GIVEN.box_valid & (np.arange(PROMPTS) > 0),
    )

    def loss(params):
        answers = build(SPEC).apply({"params": params}, IMAGE, empty, SIZE)
        return (answers.masks**2).mean() + (answers.iou**2).sum()

    gradients = jax.jit(jax.grad(loss))(params)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)
