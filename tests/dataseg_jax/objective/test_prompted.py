"""Answers to prompts in the objective, against a plain loop over prompts, rounds and candidates."""

import jax
import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from dataseg_jax.networks.types import Prompted
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import Terms, decide, decide_all, objective
from dataseg_jax.objective.tasks import Task, make_task_table

B, G, P, R, C, H, W, K = 3, 4, 5, 2, 3, 6, 8, 3
WEIGHTS = dict(ce=2.0, focal=20.0, dice=1.0, iou=1.5, proj=3.0)


def table_of(kinds=("instance", "boxes")):
    rng = np.random.default_rng(1)
    words = rng.normal(size=(K, 8)).astype(np.float32)
    return make_task_table([Task(kind, kind, np.ones(K, bool), words, WEIGHTS) for kind in kinds])


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    masks = (255 * (rng.uniform(size=(B, G, H, W)) < 0.4) * rng.uniform(0.3, 1, (B, G, H, W))).astype(np.uint8)
    masks[1, 2] = 0  # A target that no cell shows.
    targets = Targets(
        labels=rng.integers(0, K, (B, G)).astype(np.int32),
        boxes=np.zeros((B, G, 4), np.float32),
        masks=masks,
        valid=np.ones((B, G), bool),
    )
    pixel_valid = rng.uniform(size=(B, H, W)) < 0.8
    task = np.array([0, 0, 1], np.int32)
    batch = Batch(np.zeros((B, 4 * H, 4 * W, 3), np.uint8), pixel_valid, targets, task, task, np.full((B, 2), 16))
    target = np.array([[3, 1, 0, 0, 0], [2, 0, 3, 1, 0], [0, 1, 2, 3, 0]], np.int32)
    valid = np.array([[True, True, False, False, False], [True, True, True, True, False], [True] * 4 + [False]])
    logits = rng.normal(size=(B, R, P, C, 65)).astype(np.float32)
    logits[..., K:64] = -1e9
    answers = Prompted(
        target=target,
        valid=valid,
        masks=rng.normal(scale=2, size=(B, R, P, C, H, W)).astype(np.float32),
        iou=rng.uniform(size=(B, R, P, C)).astype(np.float32),
        class_logits=logits,
    )
    return batch, answers


def focal_dice(logits, target, valid):
    """The definitions of the paper, pixel by pixel."""
    p, t, n = expit(logits.astype(float)), target / 255, valid.sum()
    per_cell = -(t * 0.25 * (1 - p) ** 2 * np.log(p) + (1 - t) * 0.75 * p**2 * np.log(1 - p))
    p, t = p[valid], t[valid]
    return per_cell[valid].sum() / n, 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def naive(batch, answers, words=True):
    """{term: (sum [R], weight [R])} of task 0, and the best candidates, without jax."""
    sums = {term: np.zeros((2, R)) for term in ("ce", "focal", "dice", "iou")}
    best = np.zeros((B, R, P), int)
    for b, r, p in np.ndindex(B, R, P):
        g = answers.target[b, p]
        target, valid, label = batch.targets.masks[b, g], batch.pixel_valid[b], batch.targets.labels[b, g]
        losses = np.array([focal_dice(mask, target, valid) for mask in answers.masks[b, r, p]])
        logits = answers.class_logits[b, r, p].astype(float)
        cost = 20 * losses[:, 0] + losses[:, 1] - words * 2 * softmax(logits, -1)[:, label]
        best[b, r, p] = cost.argmin()
        if batch.task[b] or not answers.valid[b, p]:
            continue
        c = best[b, r, p]
        sums["ce"][:, r] += 2 * -log_softmax(logits[c])[label], 1
        if not (target[valid] > 0).any():
            continue
        sums["focal"][:, r] += 20 * losses[c, 0], 1
        sums["dice"][:, r] += losses[c, 1], 1
        inside, there = (answers.masks[b, r, p] > 0) & valid, (target >= 127.5) & valid
        iou = (inside & there).sum((1, 2)) / np.maximum((inside | there).sum((1, 2)), 1)
        sums["iou"][:, r] += 1.5 * ((answers.iou[b, r, p] - iou) ** 2).mean(), 1
    return sums, best


def test_choice_and_terms_equal_a_loop(world):
    batch, answers = world
    terms, decision = jax.jit(lambda *x: decide(*x, ObjectiveConfig()))(answers, batch, table_of())
    sums, best = naive(batch, answers)
    prompted = answers.valid[:, None] & (batch.task == 0)[:, None, None]
    np.testing.assert_array_equal(np.where(prompted, decision.candidate, 0), np.where(prompted, best, 0))
    assert set(terms.sums) == {*sums, "iou_l1"}  # Of weight 0.
    for name, (total, weight) in sums.items():
        np.testing.assert_allclose(terms.sums[name][:, 0], total, rtol=2e-5, err_msg=name)
        np.testing.assert_allclose(terms.weights[name][:, 0], weight, err_msg=name)
    # Boxes have no masks, and so nothing to learn from prompts but words.
    for name in ("focal", "dice"):
        assert not np.asarray(terms.weights[name][:, 1]).any()


def test_gradient_reaches_the_best_candidate_alone_and_every_predicted_iou(world):
    batch, answers = world
    table = table_of(("instance", "instance"))

    def loss(masks, iou):
        return objective(answers.replace(masks=masks, iou=iou), batch, table, ObjectiveConfig())[0]

    of_masks, of_iou = jax.jit(jax.grad(loss, (0, 1)))(answers.masks, answers.iou)
    moved = np.abs(of_masks).sum((-2, -1)) > 0
    seen = ((batch.targets.masks > 0) & batch.pixel_valid[:, None]).any((2, 3))
    asked = answers.valid & np.take_along_axis(seen, answers.target, 1)
    np.testing.assert_array_equal(moved.sum(-1), np.repeat(asked[:, None], R, 1))
    np.testing.assert_array_equal((of_iou != 0).all(-1), np.repeat(asked[:, None], R, 1))


def test_padding_prompts_and_candidates_that_are_worse_change_no_loss(world):
    batch, answers = world
    loss = jax.jit(lambda answers: objective(answers, batch, table_of(), ObjectiveConfig())[0])
    noisy = answers.replace(masks=np.where(answers.valid[:, None, :, None, None, None], answers.masks, np.nan))
    np.testing.assert_allclose(loss(noisy), loss(answers), rtol=1e-6)
    order = np.array([2, 0, 1])
    others = answers.replace(
        masks=answers.masks[:, :, :, order],
        iou=answers.iou[..., order],
        class_logits=answers.class_logits[..., order, :],
    )
    np.testing.assert_allclose(loss(others), loss(answers), rtol=1e-6)


def test_a_model_without_words_has_no_term_of_them_and_parts_add_up(world):
    batch, answers = world
    silent = answers.replace(class_logits=None)
    config, table = ObjectiveConfig(), table_of()
    loss, (terms, counts) = jax.jit(lambda *x: objective(*x, config))((answers, silent), batch, table)
    (one, _), (two, decision) = (decide(part, batch, table, config) for part in (answers, silent))
    assert set(two.sums) == {"focal", "dice", "iou", "iou_l1"} and terms.sums["ce"].shape == (2 * R, 2)
    assert not np.asarray(terms.weights["ce"][R:]).any()
    np.testing.assert_allclose(loss, one.loss() + two.loss(), rtol=1e-6)
    by_task = terms.by_task()
    np.testing.assert_allclose(by_task["ce"], one.by_task()["ce"], rtol=1e-6)
    assert counts.targets.tolist() == [6, 4] and counts.unmatched.tolist() == [0, 0]
    assert counts.slots.tolist() == [6 * C, 4 * C]
    again, *_ = decide_all((silent,), batch, table, config, decisions=(decision,))
    jax.tree.map(np.testing.assert_array_equal, again, two)
    assert Terms.joined([two]) is two
