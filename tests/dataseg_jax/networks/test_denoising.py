"""Denoising queries: noise of the right size, seen by no others, matched to their own copies of the targets."""

import dataclasses

import jax
import numpy as np
import pytest

from dataseg_jax.networks import spec as models
from dataseg_jax.networks.queries.denoising import DenoisingQueries, repetitions
from dataseg_jax.networks.types import KnownTargets
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import decide, diagnose
from dataseg_jax.objective.targets import known_targets
from dataseg_jax.objective.tasks import Task, make_task_table
from tests.messages import one_line

SIDE, B, G, K, E = 32, 2, 3, 4, 16
SPEC = models.ModelSpec(
    backbone=dict(name="resnet", stage_sizes=(1, 1), width=8, bottleneck=False, norm="group", stem="deep"),
    pixel_decoder=dict(name="transformer_fpn", width=16, layers=1, heads=2, ffn=16),
    mask_decoder=dict(
        queries=3, conditional=4, denoising=7, boxes=True, fusion="dual", width=16, layers=2, heads=2, ffn=16,
        memory_levels=1, text_width=E,
    ),
    classifier=dict(loss="focal"),
)  # fmt: skip


@jax.jit
def decided(proposals, batch, table):
    return decide(proposals, batch, table, ObjectiveConfig())


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    things = np.array([True, True, False, False])
    weights = dict(class_focal=4.0, focal=5.0, dice=5.0, l1=5.0, giou=2.0)
    table = make_task_table([Task("a", "panoptic", things, rng.normal(size=(K, E)).astype(np.float32), weights)])
    low = rng.uniform(0, 16, (B, G, 2))
    targets = Targets(
        labels=np.array([[0, 2, 1], [1, 3, 0]], np.int32),
        boxes=np.concatenate([low, low + rng.uniform(4, 16, low.shape)], -1).astype(np.float32),
        masks=rng.integers(0, 256, (B, G, 8, 8)).astype(np.uint8),
        valid=np.array([[True] * 3, [True, True, False]]),
    )
    ids = np.zeros(B, np.int32)
    image = rng.integers(0, 256, (B, SIDE, SIDE, 3), np.uint8)
    batch = Batch(image, np.ones((B, 8, 8), bool), targets, ids, ids, np.full((B, 2), SIDE, np.int32))
    model = models.build(SPEC)
    rows = table.rows(ids)
    params = jax.jit(model.init)(jax.random.key(1), image, rows.classifiers, rows.category_valid)["params"]

    @jax.jit
    def answer(params, batch, key=None):
        rows = jax.tree.map(jax.numpy.asarray, table).rows(batch.task)
        known = {} if key is None else dict(known=known_targets(batch, rows), rngs={"dropout": key})
        return model.apply({"params": params}, batch.image, rows.classifiers, rows.category_valid, **known)

    return table, batch, params, answer


def test_other_queries_are_as_if_there_were_none(world):
    _, batch, params, answer = world
    plain, noisy = answer(params, batch), answer(params, batch, jax.random.key(0))
    assert plain.class_logits.shape[2] == 7 and noisy.class_logits.shape[2] == 7 + 2 * G
    assert (plain.repetitions, noisy.repetitions) == (0, 2)
    for name in ("class_logits", "mask_embedding", "boxes"):
        np.testing.assert_allclose(getattr(noisy, name)[:, :, :7], getattr(plain, name), rtol=2e-5, atol=2e-5)


def test_a_repetition_sees_neither_the_other_nor_the_other_queries(world):
    _, batch, params, answer = world
    key = jax.random.key(0)

    def last(content_scale, batch):
        scaled = jax.tree.map(lambda x: x, params)
        scaled["mask_decoder"]["query_features"] = content_scale * params["mask_decoder"]["query_features"]
        return answer(scaled, batch, key).class_logits[:, :, 7:]

    np.testing.assert_array_equal(last(1.0, batch), last(3.0, batch))


def test_every_query_answers_for_the_target_it_was_made_from_and_counts_are_of_the_others(world):
    table, batch, params, answer = world
    noisy, plain = answer(params, batch, jax.random.key(0)), answer(params, batch)
    terms, assignment = decided(noisy, batch, table)
    without, alone = decided(plain, batch, table)
    proposal = np.asarray(assignment.proposal)
    np.testing.assert_array_equal(proposal[..., :G], alone.proposal)
    for r in (1, 2):
        made_from = np.broadcast_to(7 + (r - 1) * G + np.arange(G), proposal[..., :G].shape)
        expected = np.where(batch.targets.valid[:, None], made_from, -1)
        np.testing.assert_array_equal(proposal[..., r * G : (r + 1) * G], expected)
    for name in ("l1", "giou", "dice"):
        np.testing.assert_array_equal(terms.weights[name], without.weights[name] + 2 * batch.targets.valid.sum())
    jax.tree.map(np.testing.assert_array_equal, diagnose(batch, table, assignment), diagnose(batch, table, alone))


def test_noise_of_boxes_and_labels():
    rng = np.random.default_rng(0)
    n = 4000
    boxes = np.concatenate([rng.uniform(0.3, 0.7, (1, n, 2)), rng.uniform(0.1, 0.3, (1, n, 2))], -1).astype(np.float32)
    labels = rng.integers(0, 3, (1, n)).astype(np.int32)
    words = np.eye(4, dtype=np.float32)[None]
    valid = np.array([[True, True, True, False]])
    module = DenoisingQueries(n, 4)
    arguments = KnownTargets(labels, boxes, np.ones((1, n), bool)), words, valid, jax.random.key(3)
    params = {"params": {"content": {"kernel": np.eye(4, dtype=np.float32), "bias": np.zeros(4, np.float32)}}}
    queries = jax.jit(module.apply)(params, *arguments)
    drawn = np.asarray(queries.content).argmax(-1)
    assert set(np.unique(drawn)) == {0, 1, 2}, "only categories that the image has"
    assert (drawn != labels).mean() == pytest.approx(0.2 * 2 / 3, abs=0.02)  # A third of the flips hits the same.
    moved = np.abs(np.asarray(queries.boxes) - boxes)[0]
    limits = 0.4 * np.concatenate([boxes[0, :, 2:] / 2, boxes[0, :, 2:]], -1)
    assert (moved <= limits + 1e-6).all() and (moved / limits).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("count", "targets", "expected"), [(100, 30, 3), (100, 100, 1), (10, 100, 1)])
def test_how_often_targets_are_repeated(count, targets, expected):
    assert repetitions(count, targets) == expected


def test_gradients_reach_the_content_and_padding_changes_nothing(world):
    table, batch, params, answer = world
    key = jax.random.key(0)

    table = jax.tree.map(jax.numpy.asarray, table)

    @jax.jit
    def loss(params, batch):
        return decided(answer(params, batch, key), batch, table)[0].loss()

    gradient = jax.jit(jax.grad(loss))(params, batch)["mask_decoder"]["noisy"]["content"]["kernel"]
    assert np.abs(gradient).max() > 0
    garbage = batch.targets.replace(
        labels=np.where(batch.targets.valid, batch.targets.labels, 2),
        boxes=np.where(batch.targets.valid[..., None], batch.targets.boxes, 7).astype(np.float32),
    )
    np.testing.assert_allclose(loss(params, batch), loss(params, batch.replace(targets=garbage)), rtol=1e-6)


def test_without_boxes_there_is_nothing_to_denoise():
    decoder = dict(SPEC.mask_decoder, boxes=False, conditional=0, fusion="none")
    one_line(lambda: models.build(dataclasses.replace(SPEC, mask_decoder=decoder)), "denoising=7", "boxes=True")
