"""The cells that the losses see: which are drawn, and that losses on them are what they claim to be."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.errors import InputError
from dataseg_jax.networks.types import Proposals
from dataseg_jax.objective import merge, objective, points
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.tasks import Task, make_task_table
from dataseg_jax.training import optim, sharding, train_step

B, L, N, G, D, H, W, K = 3, 2, 6, 4, 4, 6, 8, 4
CELLS = H * W
KEY = jax.random.key(7)
decide = jax.jit(objective.decide, static_argnums=(3, 4))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    weights = dict(ce=2.0, focal=20.0, dice=1.0, proj=3.0)
    return make_task_table(
        [
            Task(kind, kind, np.arange(K) % 2 == 0, rng.normal(size=(K, 8)), weights)
            for kind in ("panoptic", "semantic", "boxes")
        ]
    )


@pytest.fixture(scope="module")
def proposals():
    rng = np.random.default_rng(1)
    class_logits = np.full((B, L, N, 65), -1e9)
    class_logits[..., [*range(K), -1]] = rng.normal(size=(B, L, N, K + 1))
    arrays = class_logits, rng.normal(size=(B, L, N, D)), rng.normal(size=(B, H, W, D))
    return Proposals(*(x.astype(np.float32) for x in arrays))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 16, (B, G, 2))
    targets = Targets(
        labels=rng.integers(0, K, (B, G)).astype(np.int32),
        boxes=np.concatenate([corner, corner + rng.uniform(1, 12, (B, G, 2))], -1).astype(np.float32),
        masks=rng.integers(0, 256, (B, G, H, W)).astype(np.uint8),
        valid=np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 0, 1]], bool),
    )
    image, ids = np.zeros((B, 4 * H, 4 * W, 3), np.uint8), np.arange(B, dtype=np.int32)
    pixel_valid = rng.uniform(size=(B, H, W)) < np.array([0.9, 0.7, 0.4])[:, None, None]
    return Batch(image, pixel_valid, targets, ids, ids, np.full((B, 2), (4 * H, 4 * W), np.int32))


@pytest.fixture(scope="module")
def run():
    def fn(proposals, batch, table, config, key):
        return objective.objective(proposals, batch, table, config, None, key)

    program = jax.jit(jax.value_and_grad(fn, has_aux=True), static_argnums=3)

    def call(proposals, batch, table, key=KEY, **config):
        return jax.device_get(program(proposals, batch, table, ObjectiveConfig(**config), key))

    return call


def assignment_of(proposals, batch, table, count, key=KEY):
    return jax.device_get(decide(proposals, batch, table, ObjectiveConfig(loss_points=count), None, key)[1])


def void_but(batch, cells):
    """The batch with all cells but these void."""
    seen = np.zeros((B, CELLS), bool)
    np.put_along_axis(seen, cells, True, 1)
    return batch.replace(pixel_valid=batch.pixel_valid & seen.reshape(B, H, W))


def assert_same(first, second, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), first, second)


def test_the_uncertain_part_is_where_a_matched_slot_is_near_its_edge(proposals, batch, table):
    """With at least a third of the cells kept every valid one is a candidate, so a sort tells the answer."""
    count = 20
    assignment = assignment_of(proposals, batch, table, count)
    for b in range(B):
        labels = proposals.class_logits[b, -1].argmax(-1)
        masks = np.einsum("nd,pd->np", proposals.mask_embedding[b, -1], proposals.features[b].reshape(CELLS, D))
        united = {(k,) if k < 64 and table.mergeable[b, k] else (k, n): [] for n, k in enumerate(labels)}
        for n, k in enumerate(labels):
            united[(k,) if (k,) in united else (k, n)].append(n)
        rows = assignment.proposal[b, -1]
        matched = [masks[members].max(0) for members in united.values() if members[0] in rows]
        assert 0 < len(matched) < N
        edge = np.min(np.abs(matched), 0)
        edge[~batch.pixel_valid[b].ravel()] = np.inf
        cells = assignment.cells[b]
        np.testing.assert_array_equal(np.sort(cells[:15]), np.sort(np.argsort(edge)[:15]))
        assert len(set(cells)) == count
        assert batch.pixel_valid[b].ravel()[cells].sum() == min(count, batch.pixel_valid[b].sum())


@pytest.mark.parametrize("unmatched", [0, 80])
def test_unmatched_slots_draw_no_cells(unmatched):
    """A disc among 80 random masks: all uncertain cells lie along its edge, as they do without the 80."""
    rng = np.random.default_rng(0)
    side = 64
    y, x = np.mgrid[:side, :side]
    disc = 14 - np.hypot(y - 30, x - 34)
    logits = np.concatenate([disc[None], rng.normal(size=(unmatched, side, side))]).reshape(1, -1, side * side)
    matched = np.arange(1 + unmatched)[None] == 0
    masks, pixels = np.zeros((1, 1, side, side), np.uint8), np.ones((1, side, side), bool)
    cells = points.draw_uncertain(
        KEY, lambda cells: jnp.asarray(logits)[:, :, cells[0]], matched, masks, np.zeros((1, 1), bool), pixels, 200
    )
    distance = np.abs(disc.ravel())
    assert distance[cells[0, :150]].max() < 7 < np.median(distance)


def test_the_rest_is_uniform_over_the_cells_that_are_left(batch):
    """Where no target asks for a cell."""
    draws, count = 3000, 20
    logits = jax.random.normal(KEY, (B, N, CELLS))
    nobody, all_of = np.zeros((B, G), bool), np.ones((B, N), bool)

    def of_cells(cells):
        return jnp.take_along_axis(logits, cells[:, None], 2)

    def draw(key):
        known = batch.targets.masks, nobody, batch.pixel_valid, count
        return points.draw_uncertain(key, of_cells, all_of, *known), points.draw_uniform(key, *known)

    uncertain_first, uniform = jax.jit(jax.vmap(draw))(jax.random.split(KEY, draws))
    for b in range(2):  # The third image has hardly more valid cells than are kept.
        uncertain, rest = set(np.unique(uncertain_first[:, b, :15])), np.asarray(uncertain_first[:, b, 15:])
        assert len(uncertain) == 15  # Every candidate is seen, so the first part does not change.
        valid = np.flatnonzero(batch.pixel_valid[b])
        for cells, left in ((rest, [c for c in valid if c not in uncertain]), (np.asarray(uniform[:, b]), valid)):
            counts = np.bincount(cells.ravel(), minlength=CELLS)
            assert counts.sum() == counts[left].sum() == cells.size
            share = cells.shape[1] / len(left)
            np.testing.assert_allclose(counts[left] / draws, share, atol=5 * np.sqrt(share / draws))


def test_every_target_has_a_cell(run, proposals, batch, table):
    """One cell a target of 48, the one that it covers most, in every draw; also through the whole objective."""
    rng = np.random.default_rng(3)
    masks = np.zeros((B, G, CELLS), np.uint8)
    for b, g in np.ndindex(B, G):
        cells = rng.choice(np.flatnonzero(batch.pixel_valid[b]), 2, replace=False)
        masks[b, g, cells] = 40, 200
    targets = batch.targets.replace(masks=masks.reshape(B, G, H, W))
    for seed in range(20):
        known = targets.masks, targets.valid, batch.pixel_valid, 5
        uniform = np.asarray(points.draw_uniform(jax.random.key(seed), *known))
        for b, g in zip(*np.nonzero(targets.valid), strict=True):
            assert masks[b, g].argmax() in uniform[b]
    assignment = assignment_of(proposals, batch.replace(targets=targets), table, 16)
    for b, g in zip(*np.nonzero(targets.valid), strict=True):
        assert masks[b, g].argmax() in assignment.cells[b]


def test_a_pair_without_a_sampled_cell_is_left_out(run, proposals, batch, table):
    """With fewer cells than targets: what is not seen has no weight in the mask terms, and all in the others."""
    batch = batch.replace(task=np.array([0, 1, 1], np.int32))
    _, _, terms, _ = flat(run(proposals, batch, table, loss_points=2))
    cells = assignment_of(proposals, batch, table, 2).cells
    few = np.take_along_axis(batch.targets.masks.reshape(B, G, -1), cells[:, None], 2)
    valid = np.take_along_axis(batch.pixel_valid.reshape(B, -1), cells, 1)[:, None]
    seen = ((few > 0) & valid).any(-1) & batch.targets.valid
    np.testing.assert_array_equal(terms.weights["focal"].sum(-1), terms.weights["dice"].sum(-1))
    assert (terms.weights["focal"].sum(-1) <= seen.sum()).all()
    only_first = batch.replace(targets=batch.targets.replace(masks=np.zeros_like(batch.targets.masks)))
    loss, gradient, terms, _ = flat(run(proposals, only_first, table, loss_points=12))
    assert np.isfinite(loss) and (terms.weights["focal"] == 0).all() and (terms.sums["dice"] == 0).all()
    np.testing.assert_array_equal(gradient.mask_embedding, 0)  # Nothing seen: no mask is pushed to nothing.


def flat(result):
    (loss, (terms, counts)), gradient = result
    return loss, gradient, terms, counts


def test_costs_see_uniform_cells(proposals, batch, table):
    """The matching is that of the dense objective with all but the uniform cells void; masks decide none of them."""
    batch = batch.replace(task=np.array([0, 1, 1], np.int32))
    of_cost = jax.random.split(KEY)[0]
    cells = points.draw_uniform(of_cost, batch.targets.masks, batch.targets.valid, batch.pixel_valid, 20)
    dense = decide(proposals, void_but(batch, np.asarray(cells)), table, ObjectiveConfig(), None, None)[1]
    np.testing.assert_array_equal(assignment_of(proposals, batch, table, 20).proposal, dense.proposal)


def test_merge_commutes_with_the_choice_of_cells(proposals, batch, table):
    cells = assignment_of(proposals, batch, table, 20).cells
    classes, embedding = proposals.class_logits[:, 0], proposals.mask_embedding[:, 0]
    mergeable = table.mergeable[batch.task]
    dense = merge.merge_proposals(classes, proposals.mask_logits(0), mergeable)
    few = points.mask_logits(embedding, points.cell_features(proposals.features, cells))
    sampled = merge.merge_proposals(classes, few, mergeable)
    np.testing.assert_array_equal(sampled.valid, dense.valid)
    taken = points.cell_values(dense.mask_logits, cells)
    np.testing.assert_allclose(sampled.mask_logits, taken, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "at_once"), [(CELLS - 1, 0), (10**6, 1)])
def test_all_valid_cells_give_the_dense_losses(run, proposals, batch, table, count, at_once):
    """One cell is left out, and every image has an invalid one; loss, terms and gradient, boxes among them."""
    assert not batch.pixel_valid.all((1, 2)).any()
    sampled = run(proposals, batch, table, loss_points=count, layers_at_once=at_once)
    assert_same(sampled, run(proposals, batch, table), rtol=1e-4)


def test_losses_on_a_sample_are_dense_losses_with_the_other_cells_void(run, proposals, batch, table):
    """Given the same matching; without boxes, whose projections always see the whole mask."""
    batch = batch.replace(task=np.array([0, 1, 1], np.int32))
    assignment = assignment_of(proposals, batch, table, 20)
    void = void_but(batch, assignment.cells)
    terms, _ = decide(proposals, void, table, ObjectiveConfig(), None, None, assignment.replace(cells=None))
    sampled = flat(run(proposals, batch, table, loss_points=20))
    assert_same((sampled[0], sampled[2]), jax.device_get((terms.loss(), terms)), rtol=1e-4)
    assert abs(sampled[0] - run(proposals, batch, table)[0][0]) > 1e-3


def test_the_projection_of_a_sample_is_dense(run, proposals, batch, table):
    batch = batch.replace(task=np.full(B, 2, np.int32))
    sampled = run(proposals, batch, table, loss_points=5)
    assert_same(sampled, run(proposals, batch, table), rtol=1e-4)


def test_no_valid_cell(run, proposals, batch, table):
    void = batch.replace(pixel_valid=np.zeros_like(batch.pixel_valid))
    sampled = run(proposals, void, table, loss_points=5)
    assert_same(sampled, run(proposals, void, table))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(sampled))
    np.testing.assert_array_equal(sampled[1].features, 0)


def test_the_key_alone_decides(run, proposals, batch, table):
    first, again = (run(proposals, batch, table, loss_points=12) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = run(proposals, batch, table, jax.random.key(8), loss_points=12)
    assert first[0][0] != other[0][0]


def test_padding_slots_and_the_order_of_proposals_change_nothing(run, proposals, batch, table):
    before = run(proposals, batch, table, loss_points=12)
    garbage = jax.tree.map(lambda x: x[:, :2], batch.targets).replace(
        boxes=np.full((B, 2, 4), np.nan, np.float32), valid=np.zeros((B, 2), bool)
    )
    padded = batch.replace(targets=jax.tree.map(lambda a, b: np.concatenate([a, b], 1), batch.targets, garbage))
    assert_same(run(proposals, padded, table, loss_points=12), before)
    order = np.array([5, 2, 0, 3, 1, 4])
    permuted = proposals.replace(
        class_logits=proposals.class_logits[:, :, order], mask_embedding=proposals.mask_embedding[:, :, order]
    )
    np.testing.assert_allclose(run(permuted, batch, table, loss_points=12)[0][0], before[0][0], rtol=1e-5)


def test_void_features_are_never_looked_at(run, proposals, batch, table):
    before = run(proposals, batch, table, loss_points=12)
    noise = np.where(batch.pixel_valid[..., None], proposals.features, np.float32(1e3))
    assert_same(run(proposals.replace(features=jnp.asarray(noise)), batch, table, loss_points=12), before)


def test_a_sample_needs_a_key(proposals, batch, table):
    with pytest.raises(InputError, match="loss_points=12.*key"):
        objective.objective(proposals, batch, table, ObjectiveConfig(loss_points=12))


class Constant(nn.Module):
    """A model whose proposals are its parameters."""

    proposals: Proposals

    @nn.compact
    def __call__(self, *args, **kwargs):
        return jax.tree.map(lambda x: self.param(f"p{x.shape}", lambda _: jnp.asarray(x)), self.proposals)

    def in_training(self, *args):
        return self(*args)


def test_every_step_draws_its_own_cells_and_repeats_them(proposals, batch, table):
    """At rate 0 only the cells differ between steps; a run that is resumed sees those of the run it continues."""
    config, mesh = optim.OptimConfig(learning_rate=0.0, schedule="constant"), sharding.make_mesh(1, jax.devices()[:1])
    model, optimizer_of = Constant(proposals), lambda params: optim.make_optimizer(params, config, 9)
    state = train_step.init_state(model, (), optimizer_of, 0)
    shardings = sharding.state_sharding(state, mesh)
    settings = ObjectiveConfig(loss_points=12, layers_at_once=1)
    step = train_step.make_train_step(model, optimizer_of(state.params), settings, mesh, shardings)

    def run(state, steps):
        losses, states = [], []
        for _ in range(steps):
            state, metrics = step(jax.device_put(state, shardings), batch, table)
            state = jax.device_get(state)
            losses.append(float(metrics.loss))
            states.append(state)
        return losses, states

    losses, states = run(jax.device_get(state), 3)
    assert len(set(losses)) == 3
    assert run(states[0], 2)[0] == losses[1:]
