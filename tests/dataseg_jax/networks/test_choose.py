"""One answer of four: best of three and dynamic multimask, against a loop over prompts."""

import numpy as np
import pytest

from dataseg_jax.networks.decoder.choose import ABSENT, choose, stability, without_absent
from dataseg_jax.networks.decoder.two_way import Answers

IMAGES, PROMPTS = 3, 40


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    scale = rng.choice([0.05, 1.0, 30.0], (IMAGES, PROMPTS, 1, 1, 1))  # Unstable masks, and stable ones.
    masks = (rng.normal(size=(IMAGES, PROMPTS, 4, 6, 7)) * scale).astype(np.float32)
    masks[0, 0] = -9.0  # Empty, and so stable.
    return Answers(
        masks=masks,
        iou=rng.choice(8, (IMAGES, PROMPTS, 4)).astype(np.float32) / 8,  # With ties: the first of them.
        tokens=rng.normal(size=(IMAGES, PROMPTS, 4, 5)).astype(np.float32),
        object_score=rng.normal(size=(IMAGES, PROMPTS)).astype(np.float32),
    )


def test_choice_is_the_loop_s(answers):
    multimask = np.random.default_rng(1).random((IMAGES, PROMPTS)) < 0.5
    chosen, kinds = choose(answers, multimask), set()
    for i, j in np.ndindex(IMAGES, PROMPTS):
        mask = answers.masks[i, j, 0]
        outer = int((mask > -0.05).sum())
        stable = outer == 0 or int((mask > 0.05).sum()) / outer >= 0.98
        best = 1 + int(np.argmax(answers.iou[i, j, 1:]))
        of_mask = best if multimask[i, j] or not stable else 0
        of_token = best if multimask[i, j] else 0
        np.testing.assert_array_equal(chosen.masks[i, j, 0], answers.masks[i, j, of_mask])
        assert chosen.iou[i, j, 0] == answers.iou[i, j, of_mask]
        np.testing.assert_array_equal(chosen.tokens[i, j, 0], answers.tokens[i, j, of_token])
        kinds.add((bool(multimask[i, j]), stable))
    assert len(kinds) == 4
    without = choose(answers, multimask, dynamic=False)
    first = np.where(multimask[..., None, None], chosen.masks[:, :, 0], answers.masks[:, :, 0])
    np.testing.assert_array_equal(without.masks[:, :, 0], first)
    np.testing.assert_array_equal(chosen.object_score, answers.object_score)


def test_stability_of_an_empty_mask_and_of_the_edges():
    cases = [(np.full((2, 2), -1.0), 1.0), (np.full((2, 2), 0.05), 0.0), (np.full((2, 2), -0.05), 1.0)]
    cases.append((np.array([[0.06, 0.04], [-0.04, -0.06]]), 1 / 3))
    for mask, expected in cases:
        assert stability(mask.astype(np.float32)) == pytest.approx(expected)


def test_masks_of_absent_objects_are_empty(answers):
    masks = np.asarray(without_absent(answers).masks)
    present = answers.object_score > 0
    np.testing.assert_array_equal(masks[present], answers.masks[present])
    assert present.any() and (masks[~present] == ABSENT).all() and (~present).any()
