"""Simulated prompts: what is asked, where clicks fall, and what is fed back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks.promptable import interaction
from dataseg_jax.networks.promptable.interaction import Interaction
from dataseg_jax.networks.types import KnownTargets

B, G, P, SIDE = 2, 5, 4, 32
CELLS = SIDE // 4


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    masks = np.zeros((B, G, CELLS, CELLS), np.uint8)
    for b, g in np.ndindex(B, G):
        y, x = rng.integers(0, CELLS - 3, 2)
        masks[b, g, y : y + 3, x : x + 3] = 255
    masks[0, 1] = 100  # Less than half of every cell.
    single = np.array([[True, True, True, False, True], [True, True, False, False, False]])
    boxes = np.full((B, G, 4), 0.5, np.float32)
    valid = np.ones((B, G), bool)
    return KnownTargets(np.zeros((B, G), np.int32), boxes, valid, masks, np.ones((B, CELLS, CELLS), bool), single)


def asked_of(known, count=P, seed=0):
    return interaction.ask(
        jax.tree.map(jnp.asarray, known), Interaction(prompts=count), (SIDE, SIDE), jax.random.key(seed)
    )


def cell(points):
    return np.floor((np.asarray(points) + 0.5) / 4).astype(int)


def test_objects_that_are_seen_are_asked_about_each_once(known):
    found = set()
    for seed in range(20):
        asked = asked_of(known, seed=seed)
        assert asked.valid.sum(1).tolist() == [3, 2]
        first = np.asarray(asked.target[0])[np.asarray(asked.valid[0])].tolist()
        assert sorted(first) == [0, 2, 4]
        found.add(tuple(first))
        assert sorted(np.asarray(asked.target[1])[np.asarray(asked.valid[1])].tolist()) == [0, 1]
    assert len(found) > 1  # In random order.
    few, many = asked_of(known, 1), asked_of(known, 9)
    assert few.valid.shape == (B, 1) and many.valid.sum(1).tolist() == [3, 2]
    np.testing.assert_allclose(few.box[0, 0], [8, 8, 24, 24])


def test_a_mask_of_nearly_all_of_the_image_is_not_asked_about(known):
    masks = known.masks.copy()
    masks[0, 0], masks[0, 2] = 255, 255
    masks[0, 2, 0] = 0  # 56 of 64 cells.
    asked = asked_of(known.replace(masks=masks))
    assert sorted(np.asarray(asked.target[0])[np.asarray(asked.valid[0])].tolist()) == [2, 4]


def test_first_prompts_are_points_in_the_object_or_boxes_around_it(known):
    asked = asked_of(known)
    plan = Interaction(clicks=3, box_noise=0.1, most_box_noise=1.0)
    boxed, far = 0, []
    for seed in range(30):
        prompts = interaction.first_prompts(asked, plan, (CELLS, CELLS), jax.random.key(seed))
        assert prompts.points.shape == (B, P, 4, 2) and not prompts.mask_valid.any()
        either = np.asarray(prompts.box_valid) ^ np.asarray(prompts.point_valid[..., 0])
        np.testing.assert_array_equal(either, asked.valid)
        assert not prompts.point_valid[..., 1:].any()
        boxed += int(prompts.box_valid.sum())
        for b, p in np.argwhere(np.asarray(prompts.point_valid[..., 0])):
            x, y = cell(prompts.points[b, p, 0])
            assert asked.mask[b, p, y, x] and prompts.labels[b, p, 0] == 1
        far.append(np.abs(np.asarray(prompts.box) - np.asarray(asked.box))[np.asarray(prompts.box_valid)].ravel())
    assert 0.3 < boxed / (30 * 5) < 0.7
    assert 0.9 < np.concatenate(far).max() <= 1.0001  # Noise of 1.6 pixels, cut at 1.


def test_clicks_fall_uniformly_into_the_error_with_its_label(known):
    asked = asked_of(known)
    plan = Interaction(clicks=2, box=0.0)
    first = interaction.first_prompts(asked, plan, (CELLS, CELLS), jax.random.key(0))
    truth = np.asarray(asked.mask)
    shifted = np.roll(truth, 1, -1)
    logits = jnp.where(shifted, 4.0, -4.0)
    seen = np.zeros_like(truth, int)
    for seed in range(300):
        prompts = interaction.next_prompts(first, asked, logits, jnp.int32(2), jax.random.key(seed))
        np.testing.assert_array_equal(prompts.point_valid[..., 2], asked.valid)
        np.testing.assert_array_equal(prompts.points[:, :, :2], first.points[:, :, :2])
        assert not prompts.point_valid[..., 1].any()
        for b, p in np.argwhere(np.asarray(asked.valid)):
            x, y = cell(prompts.points[b, p, 2])
            assert truth[b, p, y, x] != shifted[b, p, y, x] and prompts.labels[b, p, 2] == truth[b, p, y, x]
            seen[b, p, y, x] += 1
    wrong = (truth != shifted) & np.asarray(asked.valid)[..., None, None]
    assert (seen[wrong] > 20).all()  # 50 are expected in each of 6 cells.
    np.testing.assert_array_equal(prompts.mask, logits)
    none = interaction.next_prompts(first, asked, logits, jnp.int32(-1), jax.random.key(0))
    np.testing.assert_array_equal(none.point_valid, first.point_valid)
    perfect = interaction.next_prompts(first, asked, jnp.where(truth, 1.0, -1.0), jnp.int32(1), jax.random.key(0))
    np.testing.assert_array_equal(perfect.point_valid, first.point_valid)


def test_a_void_cell_is_no_error(known):
    asked = asked_of(known).replace(pixel_valid=jnp.zeros((B, CELLS, CELLS), bool))
    first = interaction.first_prompts(asked, Interaction(clicks=1), (CELLS, CELLS), jax.random.key(0))
    logits = jnp.ones((B, P, CELLS, CELLS))
    after = interaction.next_prompts(first, asked, logits, jnp.int32(1), jax.random.key(0))
    assert not after.point_valid[..., 1].any()


def test_rounds_without_clicks_are_one_at_the_end_and_one_anywhere():
    places = set()
    for seed in range(60):
        slots = np.asarray(interaction.slots(Interaction(clicks=3, refinements=2), jax.random.key(seed)))
        assert slots[-1] == -1 and (slots == -1).sum() == 2 and slots[slots > 0].tolist() == [1, 2, 3]
        places.add(int(np.flatnonzero(slots == -1)[0]))
    assert places == {0, 1, 2, 3}
    assert interaction.slots(Interaction(clicks=2, refinements=1), jax.random.key(0)).tolist() == [1, 2, -1]
    assert interaction.slots(Interaction(clicks=2, refinements=0), jax.random.key(0)).tolist() == [1, 2]


@pytest.mark.parametrize("field, value", [("prompts", 0), ("clicks", -1), ("refinements", 3), ("box", 1.5)])
def test_what_cannot_be_is_named(field, value):
    with pytest.raises(InputError, match=f"model.interaction.{field}={value}"):
        Interaction(**{field: value})
