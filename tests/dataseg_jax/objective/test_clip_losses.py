"""Answers on the frames of clips in the objective, against a plain loop over clips, rounds and objects."""

import jax
import numpy as np
import pytest
from scipy.special import expit

from dataseg_jax.networks.types import Clip, Prompted
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.objective import decide, objective
from dataseg_jax.objective.targets import expand_targets
from dataseg_jax.objective.tasks import Task, make_task_table

B, T, N, R, C, H, W = 2, 3, 3, 4, 3, 5, 6
WEIGHTS = dict(focal=20.0, dice=1.0, iou_l1=1.5, object=0.5)
TABLE = make_task_table([Task("videos", "video", np.ones(1, bool), np.ones((1, 4), np.float32), WEIGHTS)])


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    masks = (255 * (rng.uniform(size=(B, T, N, H, W)) < 0.4) * rng.uniform(0.3, 1, (B, T, N, H, W))).astype(np.uint8)
    masks[0, 1, 2] = masks[1, 2, 0] = 0  # Hidden.
    none = np.zeros((B, T), bool)
    clip = Clip(
        image=np.zeros((B, T, 4 * H, 4 * W, 3), np.uint8), masks=masks,
        pixel_valid=rng.uniform(size=(B, T, H, W)) < 0.8, frame_valid=~none, order=none.astype(int), prompted=none,
        corrected=none, kind=none.astype(int), from_truth=none[..., None],
    )  # fmt: skip
    targets = Targets(np.zeros((B, N), np.int32), np.zeros((B, N, 4), np.float32), masks[:, 0], np.ones((B, N), bool))
    task = np.zeros(B, np.int32)
    batch = Batch(clip.image[:, 0], clip.pixel_valid[:, 0], targets, task, task, np.full((B, 2), 16), clip=clip)
    counted = np.ones((B, R, N), bool)
    counted[:, 1], counted[1, 2] = False, False  # Nothing was asked in round 1, and of clip 1 nothing in round 2.
    answers = Prompted(
        target=np.array([[0, 1, 2], [2, 0, 1]], np.int32),
        valid=np.array([[True, True, True], [True, True, False]]),
        masks=rng.normal(scale=2, size=(B, R, N, C, H, W)).astype(np.float32),
        iou=rng.uniform(size=(B, R, N, C)).astype(np.float32),
        object_score=rng.normal(size=(B, R, N)).astype(np.float32),
        frame=np.array([[0, 2, 1, 2], [0, 1, 2, 2]], np.int32),
        asked=np.stack([np.arange(R) != 1] * B),
        counted=counted,
    )
    return batch, answers


def naive(batch, answers):
    """Loss of eq. 4, and {term: sum [R]}, without jax."""
    objects, sums = answers.valid.sum(), {term: np.zeros(R) for term in WEIGHTS}
    for b, r, p in np.ndindex(B, R, N):
        if not (answers.valid[b, p] and answers.counted[b, r, p]):
            continue
        frame = answers.frame[b, r]
        target, valid = batch.clip.masks[b, frame, answers.target[b, p]], batch.clip.pixel_valid[b, frame]
        there = (target[valid] > 0).any()
        score = expit(float(answers.object_score[b, r, p]))
        sums["object"][r] -= WEIGHTS["object"] * np.log(score if there else 1 - score)
        if not there:
            continue
        t = target[valid] / 255
        found = []
        for logits, iou in zip(answers.masks[b, r, p], answers.iou[b, r, p], strict=True):
            q = expit(logits[valid].astype(float))
            focal = -(t * 0.25 * (1 - q) ** 2 * np.log(q) + (1 - t) * 0.75 * q**2 * np.log(1 - q)).mean()
            inside, true = logits[valid] > 0, t >= 0.5
            error = abs(iou - (inside & true).sum() / max((inside | true).sum(), 1))
            found.append((20 * focal, 1 - (2 * (q * t).sum() + 1) / (q.sum() + t.sum() + 1), error))
        found = np.array(found)
        best = found[:, :2].sum(1).argmin()
        sums["focal"][r] += found[best, 0]
        sums["dice"][r] += found[best, 1]
        sums["iou_l1"][r] += WEIGHTS["iou_l1"] * found[:, 2].mean()
    return sum(values.sum() for values in sums.values()) / objects, sums


def test_losses_are_summed_over_rounds_and_divided_by_objects(world):
    batch, answers = world
    terms, _ = jax.jit(lambda *x: decide(*x, ObjectiveConfig()))(answers, batch, TABLE)
    loss, sums = naive(batch, answers)
    assert set(terms.sums) == {*WEIGHTS, "iou"}
    for name, total in sums.items():
        np.testing.assert_allclose(terms.sums[name][:, 0], total, rtol=2e-5, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(terms.weights[name][:, 0], [5, 0, 5, 5])
    np.testing.assert_allclose(terms.loss(), loss, rtol=1e-5)


def test_what_is_not_counted_and_padding_change_no_loss_and_get_no_gradient(world):
    batch, answers = world

    def of(answers):
        def loss(masks, score):
            return objective(answers.replace(masks=masks, object_score=score), batch, TABLE, ObjectiveConfig())[0]

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(answers.masks, answers.object_score)

    loss, (masks, scores) = of(answers)
    left_out = ~(answers.valid[:, None] & answers.counted)
    assert not np.asarray(masks)[left_out].any() and not np.asarray(scores)[left_out].any()
    assert np.asarray(scores)[~left_out].all()
    noise = np.where(left_out[..., None, None, None], 50.0, answers.masks).astype(np.float32)
    scores = np.where(left_out, -9.0, answers.object_score).astype(np.float32)
    np.testing.assert_allclose(of(answers.replace(masks=noise, object_score=scores))[0], loss, rtol=1e-6)


def test_clips_arrive_as_bits_and_their_first_frame_is_the_image():
    rng = np.random.default_rng(1)
    full = rng.uniform(size=(B, T, N, 16, 24)) < 0.5
    shared = dict(order=np.int32, prompted=bool, corrected=bool, kind=np.int32)
    wire = {key: np.zeros((B, T), kind) for key, kind in shared.items()} | dict(
        image=rng.integers(0, 255, (B, T, 16, 24, 3)).astype(np.uint8),
        masks=np.packbits(full, axis=-1, bitorder="little"), frame_valid=np.array([[True] * 3, [True, True, False]]),
        from_truth=np.zeros((B, T, 2), bool), valid=np.ones((B, N), bool), labels=np.zeros((B, N), np.int32),
        boxes=np.zeros((B, N, 4), np.float32), task=np.zeros(B, np.int32), image_id=np.zeros(B, np.int32),
        size=np.tile(np.int32([16, 24]), (B, 1)),
    )  # fmt: skip
    batch = jax.jit(expand_targets)(wire)
    share = full.reshape(B, T, N, 4, 4, 6, 4).mean((4, 6))
    assert np.abs(np.asarray(batch.clip.masks) / 255 - share).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(batch.targets.masks, batch.clip.masks[:, 0])
    np.testing.assert_array_equal(batch.image, wire["image"][:, 0])
    assert batch.clip.pixel_valid[0].all() and not batch.clip.pixel_valid[1, 2].any()
