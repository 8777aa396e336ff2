"""A model with queries and prompts: neither changes the other, and clicks have names."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks import spec as models
from dataseg_jax.networks.promptable.head import between_means
from dataseg_jax.networks.promptable.interaction import averaged
from dataseg_jax.networks.queries.prompts import Prompts
from dataseg_jax.networks.spec import ModelSpec
from dataseg_jax.networks.types import KnownTargets, Prompted, Proposals

B, S, G, P, E, K = 2, 32, 4, 3, 8, 6
PARTS = dict(
    backbone=dict(name="resnet", stage_sizes=(1, 1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(queries=5, width=16, layers=2, heads=2, ffn=16, memory_levels=2, text_width=E),
)
PROMPTS = dict(
    prompt_encoder=dict(width=16, mask_channels=16),
    prompt_decoder=dict(width=16, layers=2, heads=2, ffn=16, iou_hidden=8, skips=True),
    interaction=dict(prompts=P, clicks=2, refinements=1),
)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    model = models.build(ModelSpec(**PARTS, **PROMPTS))
    image = rng.integers(0, 256, (B, S, S, 3), np.uint8)
    words = rng.normal(size=(B, K, E)).astype(np.float32), np.ones((B, K), bool)
    params = jax.jit(model.init)(jax.random.key(0), image, *words)["params"]
    masks = np.zeros((B, G, S // 4, S // 4), np.uint8)
    for b, g in np.ndindex(B, G):
        masks[b, g, g : g + 3, b + g : b + g + 4] = 255
    known = KnownTargets(
        labels=np.zeros((B, G), np.int32),
        boxes=np.full((B, G, 4), 0.4, np.float32),
        valid=np.ones((B, G), bool),
        masks=masks,
        pixel_valid=np.ones((B, S // 4, S // 4), bool),
        single=np.array([[True] * 4, [True, False, False, True]]),
    )
    return model, params, image, words, known


def answered(world, params=None):
    model, own, image, words, known = world

    def run(params):
        rngs = {"dropout": jax.random.key(1)}
        return model.apply({"params": params}, image, *words, None, known, method="in_training", rngs=rngs)

    return run, own if params is None else params


def test_training_returns_proposals_as_they_are_and_the_answers_of_all_rounds(world):
    model, params, image, words, known = world
    run, _ = answered(world)
    proposals, first, others = jax.jit(run)(params)
    assert isinstance(proposals, Proposals) and isinstance(first, Prompted)
    plain = jax.jit(lambda params: model.apply({"params": params}, image, *words))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), proposals, plain)
    assert first.masks.shape == (B, 1, P, 3, S // 4, S // 4) and first.class_logits.shape == (B, 1, P, 3, K + 1)
    assert others.masks.shape == (B, 3, P, 1, S // 4, S // 4) and others.iou.shape == (B, 3, P, 1)
    assert first.valid.tolist() == [[True] * 3, [True, True, False]]
    np.testing.assert_array_equal(first.target, others.target)


@pytest.mark.slow
def test_gradient_is_finite_and_reaches_all_that_prompts_use(world):
    _, params, *_ = world
    run, _ = answered(world)

    def loss(params):
        _, *answers = run(params)
        # Each by other weights: the sum of a softmax's inputs, or of a norm's outputs, would have no gradient.
        weights = [np.random.default_rng(i).normal(size=x.shape) for i, x in enumerate(jax.tree.leaves(answers))]
        leaves = jax.tree.leaves(answers)
        kept = [(x, w) for x, w in zip(leaves, weights, strict=True) if jnp.issubdtype(x.dtype, jnp.floating)]
        return sum((x * w).sum() for x, w in kept)

    gradient = jax.jit(jax.grad(loss))(params)
    flat = jax.tree_util.tree_leaves_with_path({k: gradient[k] for k in ("prompts", "pixel_decoder", "classifier")})
    silent = ["/".join(k.key for k in path) for path, g in flat if not np.abs(g).max() > 0]
    assert all(np.isfinite(g).all() for _, g in flat)
    # A bias of keys moves every score of a softmax alike.
    assert not [name for name in silent if not name.endswith("/k/bias")], silent


def test_prompts_at_once_are_prompts_one_by_one(world):
    model, params, image, _, _ = world
    rng = np.random.default_rng(3)
    prompts = Prompts(
        points=rng.uniform(0, S, (B, P, 2, 2)).astype(np.float32),
        labels=rng.integers(0, 2, (B, P, 2)),
        point_valid=np.array([[[True, True], [True, False], [False, False]]] * B),
        box=np.tile(np.array([2, 3, 20, 25], np.float32), (B, P, 1)),
        box_valid=np.array([[False, True, True]] * B),
    )

    @jax.jit
    def answer(params, prompts):
        features = model.apply({"params": params}, image, method="encode")
        return model.apply({"params": params}, features, prompts, method="answer_prompts")

    together = answer(params, prompts)
    for p in range(P):
        alone = answer(params, jax.tree.map(lambda x, p=p: x[:, p : p + 1], prompts))
        np.testing.assert_allclose(together.masks[:, p], alone.masks[:, 0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(together.tokens[:, p], alone.tokens[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_encoder": {}}, "model.prompt_decoder: prompts need model.prompt_encoder too"),
        ({"prompt_encoder": {"width": 32}}, "model.prompt_encoder.width=32: it must be the pixel decoder's, 16"),
        (
            {"backbone": PARTS["backbone"] | {"stage_sizes": (1, 1)}},
            "model.prompt_stride=16: prompts are",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(InputError) as error:
        models.build(ModelSpec(**PARTS | PROMPTS | change))
    assert message in str(error.value)


def test_masks_finer_than_targets_are_linear_between_the_means_of_their_cells():
    masks = np.random.default_rng(0).normal(size=(2, 3, 12, 8)).astype(np.float32)
    found = np.asarray(between_means(masks, 2))
    for mask, smooth in zip(masks.reshape(-1, 12, 8), found.reshape(-1, 12, 8), strict=True):
        means = mask.reshape(6, 2, 4, 2).mean((1, 3))
        np.testing.assert_allclose(smooth, cv2.resize(means, (8, 12), interpolation=cv2.INTER_LINEAR), atol=1e-6)
    comb = np.where(np.arange(8) % 2, 5.0, -5.0)[None].repeat(12, 0)  # Training cannot see it.
    np.testing.assert_allclose(averaged(jnp.asarray(comb), (6, 4)), 0)
    np.testing.assert_allclose(between_means(comb, 2), 0, atol=1e-6)
    assert between_means(masks, 1) is masks


def test_channels_of_the_upscaled_image_are_those_of_a_config(world):
    fine = {**PROMPTS, "prompt_decoder": {**PROMPTS["prompt_decoder"], "upscaled_channels": 12}, "prompt_stride": 8}
    model = models.build(ModelSpec(**PARTS, **fine))
    _, _, image, words, _ = world
    params = jax.eval_shape(model.init, jax.random.key(0), image, *words)["params"]["prompts"]
    shapes = jax.tree.map(lambda x: x.shape, params)
    assert shapes["fine"]["kernel"] == (16, 12) and shapes["coarse"]["kernel"] == (16, 24)
    decoder = shapes["decoder"]
    assert decoder["upscale_0"]["kernel"] == (2, 2, 24, 16) and decoder["upscale_1"]["kernel"] == (2, 2, 12, 24)
    alone = ModelSpec(
        backbone=dict(name="vitdet", width=16, depth=1, heads=2, global_blocks=(0,)),
        pixel_decoder=dict(name="sam_neck", width=16),
        mask_decoder=dict(width=16, heads=2, upscaled_channels=12),
        prompt_encoder=dict(width=16),
    )
    with pytest.raises(InputError, match="upscaled_channels: it is of model.prompt_decoder"):
        models.build(alone)
