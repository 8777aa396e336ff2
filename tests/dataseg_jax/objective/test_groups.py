"""Groups of queries: who is matched to whom, who merges with whom and who sees whom; and rows of an image's own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dataseg_jax.networks.decoder.mask_decoder import MaskDecoder
from dataseg_jax.networks.types import Features, Proposals, Queries, join
from dataseg_jax.objective import matching
from dataseg_jax.objective.batch import Batch, Targets
from dataseg_jax.objective.layers import ObjectiveConfig
from dataseg_jax.objective.merge import merge_proposals
from dataseg_jax.objective.objective import decide, objective
from dataseg_jax.objective.tasks import Row, Task, make_task_table

SOLVERS = ("hungarian", "hungarian_jit", "sinkhorn")
match = jax.jit(matching.match, static_argnames="solver")


def best_by_brute_force(cost, allowed):
    """(how many targets get a proposal at most, the least cost of that), by trying all assignments."""
    n, g = cost.shape
    best = (0, 0.0)
    for rows in itertools.product(range(-1, n), repeat=g):
        used = [r for r in rows if r >= 0]
        if len(set(used)) < len(used) or any(r >= 0 and not allowed[r, t] for t, r in enumerate(rows)):
            continue
        total = sum(cost[r, t] for t, r in enumerate(rows) if r >= 0)
        best = max(best, (len(used), -total))
    return best[0], -best[1]


@pytest.mark.parametrize("solver", SOLVERS[:2])
def test_match_takes_allowed_pairs_alone_and_as_many_as_there_are(solver):
    rng = np.random.default_rng(0)
    for n, g in ((5, 4), (2, 4), (3, 3), (4, 1)):
        costs, allowances = rng.normal(size=(6, n, g)).astype(np.float32), rng.uniform(size=(6, n, g)) < 0.5
        matched = np.asarray(match(costs, np.ones((6, g), bool), solver=solver, allowed=allowances))
        for cost, allowed, rows in zip(costs, allowances, matched, strict=True):
            hit = np.flatnonzero(rows >= 0)
            assert len(set(rows[hit])) == len(hit) and allowed[rows[hit], hit].all()
            count, least = best_by_brute_force(cost, allowed)
            assert len(hit) == count
            np.testing.assert_allclose(cost[rows[hit], hit].sum(), least, atol=1e-4)


def test_a_forbidden_pair_is_never_the_price_of_a_cheaper_one():
    """The cheapest pairs of both targets are one proposal's; its way out for the other costs all there is."""
    cost = np.array([[0.0, 0.0], [9.0, 9.0]], np.float32)
    allowed = np.array([[True, True], [False, True]])
    for solver in SOLVERS:
        assert match(cost, np.ones(2, bool), solver=solver, allowed=allowed).tolist() == [0, 1], solver


@pytest.mark.parametrize("solver", SOLVERS)
def test_sinkhorn_too_stays_within_groups(solver):
    """Groups 0, 1 and 2 of 4, 3 and 1 proposals; every target has one of its own group."""
    rng = np.random.default_rng(1)
    group, of_target = np.array([0, 0, 0, 0, 1, 1, 1, 2]), np.array([1, 0, 0, 2])
    cost = rng.normal(size=(2, 3, 8, 4)).astype(np.float32)
    allowed = np.broadcast_to(group[:, None] == of_target, cost.shape)
    rows = np.asarray(match(cost, np.ones((2, 3, 4), bool), solver=solver, allowed=allowed))
    assert (group[rows] == of_target).all()
    # The single query of group 2 has no choice; the best of three takes the least cost.
    assert (rows[..., 3] == 7).all()
    if solver != "sinkhorn":
        np.testing.assert_array_equal(rows[..., 0], 4 + cost[..., 4:7, 0].argmin(-1))


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_pairs_allowed_is_none_given(solver):
    rng = np.random.default_rng(2)
    cost = rng.normal(size=(5, 7, 4)).astype(np.float32)
    cost[0, 2, 1], cost[1, :, 0] = np.nan, np.inf
    valid, exists = rng.uniform(size=(5, 4)) < 0.8, rng.uniform(size=(5, 7)) < 0.8
    plain = match(cost, valid, exists, solver=solver)
    np.testing.assert_array_equal(plain, match(cost, valid, exists, solver=solver, allowed=np.ones(cost.shape, bool)))


def test_forbidden_costs_are_not_counted_as_replaced():
    cost = np.array([[np.nan, 1], [np.nan, 2]], np.float32)
    allowed = np.array([[True, True], [False, True]])
    assert matching.count_replaced(cost, np.ones(2, bool), np.ones(2, bool), allowed) == 1


def test_merge_unites_within_a_group_only():
    class_logits = np.zeros((6, 3), np.float32)
    class_logits[:, 0] = 1  # All of category 0, which merges.
    masks = np.arange(6, dtype=np.float32).reshape(6, 1, 1)
    group, valid = np.array([0, 1, 0, 1, 1, 0]), np.array([True] * 5 + [False])
    merged = merge_proposals(class_logits, masks, np.array([True, False]), group=group, proposal_valid=valid)
    assert merged.valid.tolist() == [True, True, False, False, False, False]
    assert merged.mask_logits[:2, 0, 0].tolist() == [2, 4]


# The objective.

B, L, N, G, K, S = 2, 2, 6, 3, 4, 4


@pytest.fixture(scope="module")
def world():
    """(proposals, batch, table) of a panoptic and a semantic dataset, with random values."""
    rng = np.random.default_rng(3)
    is_thing = np.array([True, True, False, False])
    weights = dict(ce=2.0, focal=20.0, dice=1.0, proj=2.0)
    words = rng.normal(size=(K, 8)).astype(np.float32)
    table = make_task_table([Task(kind, kind, is_thing, words, weights) for kind in ("panoptic", "semantic")])
    k = table.category_valid.shape[1]
    class_logits = np.full((B, L, N, k + 1), -1e9, np.float32)
    class_logits[..., :K], class_logits[..., -1] = rng.normal(size=(B, L, N, K)), rng.normal(size=(B, L, N))
    proposals = Proposals(
        class_logits,
        rng.normal(size=(B, L, N, 5)).astype(np.float32),
        rng.normal(size=(B, S, S, 5)).astype(np.float32),
    )
    targets = Targets(
        labels=rng.integers(0, K, (B, G)).astype(np.int32),
        boxes=np.tile(np.float32([0, 0, 8, 8]), (B, G, 1)),
        masks=rng.integers(0, 256, (B, G, S, S)).astype(np.uint8),
        valid=np.array([[True, True, True], [True, True, False]]),
    )
    ids = np.arange(B, dtype=np.int32)
    image = np.zeros((B, 4 * S, 4 * S, 3), np.uint8)
    batch = Batch(image, np.ones((B, S, S), bool), targets, ids, ids, np.full((B, 2), 4 * S, np.int32))
    return proposals, batch, table


@jax.jit
def value(proposals, batch, table):
    """The loss, its terms, and the gradient to the mask embeddings and class logits."""

    def loss(class_logits, mask_embedding):
        asked = proposals.replace(class_logits=class_logits, mask_embedding=mask_embedding)
        return objective(asked, batch, table, ObjectiveConfig())

    (loss, (terms, counts)), gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        proposals.class_logits, proposals.mask_embedding
    )
    return loss, terms, counts, gradient


def test_group_0_everywhere_is_no_group_to_the_bit(world):
    proposals, batch, table = world
    zeros = batch.replace(targets=batch.targets.replace(group=np.zeros((B, G), np.int32)))
    explicit = proposals.replace(group=np.zeros((B, N), np.int32), valid=np.ones((B, N), bool))
    jax.tree.map(np.testing.assert_array_equal, value(*world), value(explicit, zeros, table))


def test_padded_proposals_change_nothing(world):
    proposals, batch, table = world
    rng = np.random.default_rng(4)

    def padded(x):
        more = rng.normal(size=(*x.shape[:2], 2, *x.shape[3:])) if x.ndim == 4 else np.ones((B, 2), bool)
        return np.concatenate([x, more.astype(x.dtype)], 2 if x.ndim == 4 else 1)

    more = proposals.replace(
        class_logits=padded(proposals.class_logits),
        mask_embedding=padded(proposals.mask_embedding),
        valid=np.arange(N + 2) < np.full((B, 1), N),
    )
    loss, terms, counts, gradient = value(*world)
    other = value(more, batch, table)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), (loss, terms, counts), other[:3])
    for one, two in zip(gradient, other[3], strict=True):
        np.testing.assert_allclose(one, two[:, :, :N], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(two[:, :, N:], 0)


def test_a_target_is_answered_by_its_own_group(world):
    """Group 1, the last three proposals, has the first target alone, and the others never have it."""
    proposals, batch, table = world
    group = np.tile([0, 0, 0, 1, 1, 1], (B, 1)).astype(np.int32)
    of_target = np.tile([1, 0, 0], (B, 1)).astype(np.int32)
    grouped = proposals.replace(group=group)
    targets = batch.targets.replace(group=of_target)

    @jax.jit
    def assigned(proposals, batch, table):
        return decide(proposals, batch, table, ObjectiveConfig())[1].proposal

    rows = np.asarray(assigned(grouped, batch.replace(targets=targets), table))
    assert (rows[..., 0] >= 3).all() and (rows[..., 1:] < 3).all()


def test_an_image_may_bring_its_own_row(world):
    """The same words from the batch and from the table are the same loss; other words are another."""
    proposals, batch, table = world
    own = jax.tree.map(np.asarray, table.rows(batch.task))
    jax.tree.map(np.testing.assert_array_equal, value(*world), value(proposals, batch.replace(row=own), table))
    assert isinstance(own, Row) and own.category_valid.shape[0] == B
    nothing = own.replace(mergeable=np.zeros_like(own.mergeable))
    assert value(proposals, batch.replace(row=nothing), table)[0] != value(*world)[0]


# The decoder.


@pytest.fixture(scope="module")
def decoder():
    rng = np.random.default_rng(5)
    features = Features([rng.normal(size=(2, 4, 4, 6)).astype(np.float32)], rng.normal(size=(2, 8, 8, 5)))
    module = MaskDecoder(queries=3, width=8, layers=2, heads=2, ffn=8, memory_levels=1, text_width=7)

    def init(module):
        return module(features, module.learned_queries(2))

    params = jax.jit(lambda key: module.init(key, method=init))(jax.random.key(0))
    return jax.jit(lambda queries: module.apply(params, features, queries)), module.apply(
        params, 2, method="learned_queries"
    )


def random_queries(n, seed, **fields):
    rng = np.random.default_rng(seed)
    content, position = rng.normal(size=(2, 2, n, 8)).astype(np.float32)
    return Queries(jnp.asarray(content), jnp.asarray(position), **fields)


def test_groups_do_not_see_each_other(decoder):
    decode, learned = decoder
    prompt = random_queries(2, 6, group=jnp.full((2, 2), 1))
    alone, together = decode(learned), decode(join([learned, prompt]))
    np.testing.assert_allclose(together.mask_embedding[:, :, :3], alone.mask_embedding, rtol=1e-4, atol=1e-5)
    one = decode(prompt)
    np.testing.assert_allclose(together.class_embedding[:, :, 3:], one.class_embedding, rtol=1e-4, atol=1e-5)
    mixed = decode(join([learned, random_queries(2, 6)]))  # In the same group they do.
    assert np.abs(mixed.mask_embedding[:, :, :3] - alone.mask_embedding).max() > 1e-3


def test_padded_queries_change_nothing(decoder):
    decode, learned = decoder
    padding = random_queries(2, 7, valid=jnp.zeros((2, 2), bool))
    alone, together = decode(learned), decode(join([learned, padding]))
    np.testing.assert_allclose(together.mask_embedding[:, :, :3], alone.mask_embedding, rtol=1e-4, atol=1e-5)
    assert np.isfinite(together.class_embedding).all()


def test_joined_queries_take_the_defaults_of_what_they_leave_out():
    boxed = random_queries(1, 8, boxes=jnp.full((2, 1, 4), 0.5))
    joined = join([random_queries(2, 9), boxed])
    assert joined.group is None and joined.valid is None
    padded = join([boxed, random_queries(2, 9, valid=jnp.zeros((2, 2), bool), group=jnp.ones((2, 2), jnp.int32))])
    assert padded.group.tolist() == [[0, 1, 1]] * 2 and padded.valid.tolist() == [[True, False, False]] * 2
    assert joined.boxes[0].tolist() == [[0.5, 0.5, 1, 1], [0.5, 0.5, 1, 1], [0.5] * 4]
    assert join([boxed]) is boxed and random_queries(2, 9).visible() is None
