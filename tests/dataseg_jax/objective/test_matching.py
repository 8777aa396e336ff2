"""All solvers of `match` against SciPy, and the contract they share (DESIGN section 5)."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import dataseg_jax
from dataseg_jax import losses
from dataseg_jax.errors import InputError
from dataseg_jax.objective import matching, solvers
from dataseg_jax.objective.matching import match
from dataseg_jax.objective.terms.term import Prediction, Truth

SOLVERS = ("hungarian", "hungarian_jit", "sinkhorn")
EXACT = ("hungarian", "hungarian_jit")
SHAPES = ((7, 4), (4, 7), (5, 5))
PROBLEMS = 6
solve = jax.jit(match, static_argnames=("solver", "mesh"))


def optimum(cost, valid, proposal_valid):
    """The least total cost, in float64."""
    pair = cost.astype(np.float64)[np.ix_(proposal_valid, valid)]
    return pair[linear_sum_assignment(pair)].sum()


def total(cost, proposal):
    chosen = np.flatnonzero(proposal >= 0)
    return cost.astype(np.float64)[proposal[chosen], chosen].sum()


def assert_contract(proposal, valid, proposal_valid):
    """min(valid, valid) targets matched, each to a different valid proposal; all others -1."""
    proposal = np.asarray(proposal)
    assert proposal.dtype == np.int32 and proposal.shape == valid.shape
    hits = proposal[proposal >= 0]
    assert len(hits) == min(valid.sum(), proposal_valid.sum())
    assert len(set(hits.tolist())) == len(hits)
    assert proposal_valid[hits].all()
    np.testing.assert_array_equal(proposal[~valid], -1)
    np.testing.assert_array_equal(proposal[proposal < 0], -1)


def random_valid(rng, n, g):
    valid, proposal_valid = rng.uniform(size=(PROBLEMS, g)) < 0.6, rng.uniform(size=(PROBLEMS, n)) < 0.6
    valid[:, 0] = proposal_valid[:, 1] = True
    valid[:2] = proposal_valid[1:3] = True
    return valid, proposal_valid


def put(cost, rng, value, share=0.15):
    return np.where(rng.uniform(size=cost.shape) < share, value, cost)


COSTS = {
    "random": lambda rng, shape: rng.normal(size=shape),
    "large": lambda rng, shape: 1e4 + 1e4 * rng.uniform(size=shape),
    "small": lambda rng, shape: 1e-4 * rng.uniform(size=shape),
    "tied": lambda rng, shape: rng.integers(0, 3, shape),
    "constant": lambda rng, shape: np.full(shape, 2.5),
    "zero": lambda rng, shape: np.zeros(shape),
    "all huge": lambda rng, shape: 1e30 * rng.uniform(0.1, 1, size=shape),
    "3e38": lambda rng, shape: np.full(shape, 3e38),
    "-3e38": lambda rng, shape: np.full(shape, -3e38),
}


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", COSTS)
def test_exact_solvers_equal_scipy(solver, shape, kind):
    rng = np.random.default_rng(len(kind))
    cost = COSTS[kind](rng, (PROBLEMS, *shape)).astype(np.float32)
    valid, proposal_valid = random_valid(rng, *shape)
    result = np.asarray(solve(cost, valid, proposal_valid, solver=solver))
    for c, v, p, r in zip(cost, valid, proposal_valid, result, strict=True):
        assert_contract(r, v, p)
        best = optimum(c, v, p)
        np.testing.assert_allclose(total(c, r), best, rtol=1e-5, atol=1e-6 * np.abs(c[c < 1e29]).max(initial=0))


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("huge", [1e4, 1e8, 1e30, 3e38])
def test_huge_entries_do_not_blur_the_rest(solver, shape, huge):
    """A planted answer of ordinary costs, huge ones elsewhere: large constants lose float32 digits."""
    rng = np.random.default_rng(int(np.log10(huge)))
    cost, answer = planted(rng, shape)
    taken = cost < 0.1
    cost = np.where(~taken, put(cost, rng, huge, 0.3), cost).astype(np.float32)
    everything = np.ones((PROBLEMS, shape[1]), bool), np.ones((PROBLEMS, shape[0]), bool)
    result = np.asarray(solve(cost, *everything, solver=solver))
    np.testing.assert_array_equal(result, answer)


@pytest.mark.parametrize(
    "solver, huge",
    [("hungarian", 1e30), ("hungarian_jit", 1e3)],  # On the device float32 is exact to 1e-6 of the largest valid cost.
)
def test_a_huge_row_beside_invalid_ones(solver, huge):
    rng = np.random.default_rng(10)
    cost = rng.uniform(size=(200, 5, 5)).astype(np.float32)
    cost[:, 1] = huge
    valid, proposal_valid = rng.uniform(size=(2, 200, 5)) < 0.6
    result = np.asarray(solve(cost, valid, proposal_valid, solver=solver))
    for c, v, p, r in zip(cost, valid, proposal_valid, result, strict=True):
        np.testing.assert_allclose(total(c, r), optimum(c, v, p), rtol=1e-5)


def planted(rng, shape):
    """Costs of .5 to 1 with one matching of about 0, and that matching as `match` returns it."""
    n, g = shape
    cost, answer = rng.uniform(0.5, 1, (PROBLEMS, n, g)), np.full((PROBLEMS, g), -1)
    for c, a in zip(cost, answer, strict=True):
        size = min(n, g)
        rows, columns = rng.permutation(n)[:size], rng.permutation(g)[:size]
        c[rows, columns] = rng.uniform(0, 0.05, size)
        a[columns] = rows
    return cost, answer


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_entries_that_are_not_finite_are_chosen_last(solver, shape):
    rng = np.random.default_rng(1)
    cost, answer = planted(rng, shape)
    taken = cost < 0.1
    for value in (np.inf, -np.inf, np.nan):
        cost = np.where(~taken, put(cost, rng, value), cost)
    everything = np.ones((PROBLEMS, shape[1]), bool), np.ones((PROBLEMS, shape[0]), bool)
    result = np.asarray(solve(cost.astype(np.float32), *everything, solver=solver))
    np.testing.assert_array_equal(result, answer)


BAD = {
    "all nan": lambda rng, cost: np.full(cost.shape, np.nan),
    "all inf": lambda rng, cost: np.full(cost.shape, np.inf),
    "all -inf": lambda rng, cost: np.full(cost.shape, -np.inf),
    "half nan": lambda rng, cost: put(cost, rng, np.nan, 0.5),
    "a nan row": lambda rng, cost: np.where(np.arange(cost.shape[1])[:, None] == 1, np.nan, cost),
    "a nan column": lambda rng, cost: np.where(np.arange(cost.shape[2]) == 0, np.nan, cost),
    "one finite": lambda rng, cost: np.where(np.arange(cost[0].size).reshape(cost[0].shape) == 0, cost, np.inf),
    "huge and nan": lambda rng, cost: put(put(cost, rng, 1e30), rng, np.nan),
    "both huge": lambda rng, cost: put(put(put(cost, rng, 3e38), rng, -3e38), rng, np.inf),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [*COSTS, *BAD])
def test_contract_holds_on_anything(solver, shape, kind):
    rng = np.random.default_rng(2)
    cost = COSTS.get(kind, COSTS["random"])(rng, (PROBLEMS, *shape))
    cost = BAD[kind](rng, cost) if kind in BAD else cost
    valid, proposal_valid = random_valid(rng, *shape)
    valid[3], proposal_valid[4] = False, False  # No target; no proposal; neither.
    valid[5], proposal_valid[5] = False, False
    result = np.asarray(solve(cost.astype(np.float32), valid, proposal_valid, solver=solver))
    for args in zip(result, valid, proposal_valid, strict=True):
        assert_contract(*args)


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_finite_part_is_still_matched_well(solver, shape):
    """Non-finite entries cost just above the largest finite one: SciPy with such a constant does no better."""
    rng = np.random.default_rng(3)
    cost = put(rng.uniform(size=(PROBLEMS, *shape)), rng, np.nan, 0.4).astype(np.float32)
    valid, proposal_valid = random_valid(rng, *shape)
    result = np.asarray(solve(cost, valid, proposal_valid, solver=solver))
    for c, v, p, r in zip(cost, valid, proposal_valid, result, strict=True):
        c = np.where(np.isnan(c), np.nanmax(c[np.ix_(p, v)]) * 1.001, c)
        assert total(c, r) <= optimum(c, v, p) + 0.1  # "Just above" is a free choice of a tenth.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30, -3e38, 0.0])
def test_garbage_in_invalid_rows_and_columns_never_matters(solver, garbage):
    rng = np.random.default_rng(4)
    cost = rng.normal(size=(PROBLEMS, 7, 4)).astype(np.float32)
    valid, proposal_valid = random_valid(rng, 7, 4)
    pair = proposal_valid[:, :, None] & valid[:, None]
    before = solve(cost, valid, proposal_valid, solver=solver)
    after = solve(np.where(pair, cost, np.float32(garbage)), valid, proposal_valid, solver=solver)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_proposal_is_valid_by_default(solver):
    cost = np.random.default_rng(5).normal(size=(PROBLEMS, 7, 4)).astype(np.float32)
    valid = np.ones((PROBLEMS, 4), bool)
    explicit = solve(cost, valid, np.ones((PROBLEMS, 7), bool), solver=solver)
    np.testing.assert_array_equal(solve(cost, valid, solver=solver), explicit)
    if solver == "hungarian":
        np.testing.assert_array_equal(match(cost, valid), explicit)  # The default solver; without jit.


@pytest.mark.parametrize("solver", SOLVERS)
def test_leading_axes_and_vmap(solver):
    rng = np.random.default_rng(6)
    cost = rng.normal(size=(PROBLEMS, 7, 4)).astype(np.float32)
    valid, proposal_valid = random_valid(rng, 7, 4)
    flat = np.asarray(solve(cost, valid, proposal_valid, solver=solver))
    fold = lambda x: x.reshape(2, 3, *x.shape[1:])  # noqa: E731
    folded = solve(fold(cost), fold(valid), fold(proposal_valid), solver=solver)
    np.testing.assert_array_equal(folded, fold(flat))
    mapped = jax.jit(jax.vmap(partial(match, solver=solver)))(cost, valid, proposal_valid)
    np.testing.assert_array_equal(mapped, flat)
    np.testing.assert_array_equal(solve(cost[0], valid[0], proposal_valid[0], solver=solver), flat[0])


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_target_slots_at_all(solver):
    result = solve(np.zeros((2, 3, 0), np.float32), np.zeros((2, 0), bool), solver=solver)
    assert result.shape == (2, 0) and result.dtype == jnp.int32


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_gradient_flows(solver):
    cost = np.random.default_rng(7).normal(size=(PROBLEMS, 5, 5)).astype(np.float32)

    def fn(cost):
        proposal = match(cost, np.ones((PROBLEMS, 5), bool), solver=solver)
        return jnp.take_along_axis(cost, proposal[:, None], 1).sum()

    gradient = np.asarray(jax.jit(jax.grad(fn))(cost))
    np.testing.assert_array_equal(np.sort(gradient.reshape(PROBLEMS, -1), 1)[:, -5:], 1)
    assert gradient.sum() == 5 * PROBLEMS


def separated(rng, n, g):
    """Distances between points and noisy copies of them, far from each other."""
    targets = rng.uniform(0, 10, (g, 8))
    proposals = np.concatenate(
        [targets[:n] + 0.1 * rng.normal(size=(min(n, g), 8)), rng.uniform(0, 10, (max(n - g, 0), 8))]
    )
    return np.linalg.norm(rng.permutation(proposals)[:, None] - targets[None], axis=-1)


def mask_like(rng, n, g):
    """Dice plus class cost of noisy copies of rectangles: several duplicates of every target among N proposals."""
    side = 24
    y, x = np.mgrid[:side, :side]
    low, size = rng.uniform(0, 0.7 * side, (2, g, 1, 1)), rng.uniform(0.15 * side, 0.5 * side, (2, g, 1, 1))
    masks = (
        ((y >= low[0]) & (y < low[0] + size[0]) & (x >= low[1]) & (x < low[1] + size[1])).reshape(g, -1).astype(float)
    )
    source = np.concatenate([np.arange(g), rng.integers(0, g, n)])[:n]
    noise = rng.uniform(0, 0.5, (n, 1))
    p = (1 - noise) * masks[source] + noise * rng.uniform(size=(n, side * side))
    dice = 1 - (2 * p @ masks.T + 1) / (p.sum(1)[:, None] + masks.sum(1)[None] + 1)
    labels = rng.integers(0, 5, g)
    sure = rng.dirichlet(np.ones(5), n) * 0.5 + 0.5 * np.eye(5)[labels[source]]
    return rng.permutation(1 - sure[:, labels] + dice)


def chain(rng, n, g):
    """Points on a line, each nearer to its neighbour's target than to its own: taking the nearest first goes wrong."""
    proposals = np.arange(n) - 0.6 + 0.05 * rng.normal(size=n)
    return np.abs(rng.permutation(proposals)[:, None] - np.arange(g)[None])


@pytest.mark.parametrize(
    ("make", "n", "g"),
    [(separated, 20, 8), (separated, 8, 20), (mask_like, 100, 20), (mask_like, 100, 100), (chain, 20, 20)],
)
def test_sinkhorn_is_within_a_tenth_of_the_optimum(make, n, g):
    cost = np.stack([make(np.random.default_rng(seed), n, g) for seed in range(PROBLEMS)]).astype(np.float32)
    valid, proposal_valid = np.ones((PROBLEMS, g), bool), np.ones((PROBLEMS, n), bool)
    valid[1, g // 2 :] = proposal_valid[2, n // 2 :] = False
    result = np.asarray(solve(cost, valid, proposal_valid, solver="sinkhorn"))
    for c, v, p, r in zip(cost, valid, proposal_valid, result, strict=True):
        assert_contract(r, v, p)
        assert total(c, r) <= 1.1 * optimum(c, v, p)


def test_exact_on_the_device_at_the_papers_size():
    cost = np.stack([mask_like(np.random.default_rng(seed), 100, 20) for seed in range(PROBLEMS)]).astype(np.float32)
    valid = np.random.default_rng(0).uniform(size=(PROBLEMS, 20)) < 0.7
    result = np.asarray(solve(cost, valid, solver="hungarian_jit"))
    for c, v, r in zip(cost, valid, result, strict=True):
        np.testing.assert_allclose(total(c, r), optimum(c, v, np.ones(100, bool)), rtol=1e-6)


def test_unknown_solver():
    with pytest.raises(InputError, match="greedy.*hungarian"):
        match(np.zeros((3, 2), np.float32), np.ones(2, bool), solver="greedy")


def test_count_replaced():
    cost = np.array([[np.nan, 1, np.inf], [2, -np.inf, np.nan]], np.float32)
    assert matching.count_replaced(cost, np.array([True, True, False]), np.array([True, True])) == 2
    assert matching.count_replaced(cost, np.array([True, True, True]), np.array([False, True])) == 2


def test_cost_is_eq_5():
    """`-p`, focal, dice and projection of every pair, weighted by the image's row."""
    rng = np.random.default_rng(0)
    b, n, g, k, h, w = 2, 4, 3, 5, 4, 6
    class_logits, mask_logits = rng.normal(size=(b, n, k + 1)), 3 * rng.normal(size=(b, n, h, w))
    labels, masks = rng.integers(0, k, (b, g)), rng.uniform(size=(b, g, h, w))
    boxes, pixels = (rng.uniform(size=(b, g, h, w)) < 0.5).astype(float), rng.uniform(size=(b, h, w)) < 0.7
    rows = np.array([[1.0, 2.0], [20.0, 0.0], [3.0, 0.0], [0.0, 4.0]], np.float32)
    weights = dict(zip(("ce", "focal", "dice", "proj"), rows, strict=True))
    c, x, m, box = (np.asarray(x, np.float32) for x in (class_logits, mask_logits, masks, boxes))
    projected, boxed = (losses.projections(y, pixels[:, None]) for y in (jax.nn.sigmoid(x), box))
    flat, cells, valid = x.reshape(b, n, -1), m.reshape(b, g, -1), pixels.reshape(b, -1)
    prediction = Prediction(c, flat, np.ones(c.shape[:2], bool), projected)
    truth = Truth(labels, cells, valid, np.ones(labels.shape, bool), boxed, np.zeros((*labels.shape, 4)))
    cost = jax.jit(matching.matching_cost)(prediction, truth, weights)
    p = np.exp(class_logits) / np.exp(class_logits).sum(-1, keepdims=True)
    for i, j, t in np.ndindex(b, n, g):
        x, m, valid = mask_logits[i, j], masks[i, t], pixels[i]
        terms = (
            -p[i, j, labels[i, t]],
            losses.sigmoid_focal_loss(x.ravel(), m.ravel(), valid.ravel()),
            losses.dice_loss(x.ravel(), m.ravel(), valid.ravel()),
            losses.projection_loss(x, boxes[i, t], valid),
        )
        mus = rows[:, i]
        expected = sum(mu * float(term) for mu, term in zip(mus, terms, strict=True))
        np.testing.assert_allclose(cost[i, j, t], expected, rtol=1e-4, atol=1e-5)


MESH = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from dataseg_jax.objective.matching import match
from dataseg_jax.training.sharding import batch_sharding, make_mesh

assert jax.device_count() == 8
rng = np.random.default_rng(0)
cost = rng.normal(size=(16, 2, 5, 4)).astype(np.float32)
valid, proposal_valid = rng.uniform(size=(16, 2, 4)) < 0.7, rng.uniform(size=(16, 2, 5)) < 0.7
expected = match(cost, valid, proposal_valid)
for fsdp in (1, 2):
    mesh = make_mesh(fsdp)
    spread = batch_sharding(mesh)
    args = jax.device_put((cost, valid, proposal_valid), spread)
    for solver in ("hungarian", "hungarian_jit"):
        solve = jax.jit(lambda *a: match(*a, solver=solver, mesh=mesh))
        compiled = solve.lower(*args).compile()
        result = compiled(*args)
        np.testing.assert_array_equal(result, expected)
        assert not any(name in compiled.as_text() for name in ("all-gather", "all-reduce", "collective-permute"))
        assert result.sharding.is_equivalent_to(spread, 3)
print("agreed")
"""


def test_mesh_solves_each_shard_by_itself():
    """On 8 devices: the same matches, and the global cost is never gathered."""
    root = Path(dataseg_jax.__path__[0]).parent
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    env = os.environ | {"XLA_FLAGS": flags, "PJRT_NPROC": "64", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", MESH], env=env, capture_output=True, text=True, timeout=300)
    assert run.stdout.strip() == "agreed", run.stderr[-3000:]


def test_the_callback_is_handed_no_jax_array(monkeypatch):
    """Waiting for a jax array inside a host callback can hang: the CPU has no thread left to bring it."""
    seen = []

    def solve_and_look(*operands):
        seen.extend(operands)
        return solve_on_host(*operands)

    solve_on_host = solvers._solve_on_host
    monkeypatch.setattr(solvers, "_solve_on_host", solve_and_look)
    cost = np.random.default_rng(0).uniform(size=(3, 5, 4)).astype(np.float32)
    jax.block_until_ready(jax.jit(matching.match)(cost, np.ones((3, 4), bool)))
    assert len(seen) == 3 and not any(isinstance(operand, jax.Array) for operand in seen)
