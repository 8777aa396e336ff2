"""The batched solver on the device against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dataseg_jax.objective.shortest_paths import solve

KINDS = {
    "random": lambda rng, shape: rng.uniform(size=shape),
    "few values": lambda rng, shape: rng.integers(0, 4, shape),  # Ties everywhere.
    "products": lambda rng, shape: rng.uniform(size=shape[:-1])[..., None] * rng.uniform(size=shape[2]),  # Long paths.
    "negative": lambda rng, shape: -rng.gamma(1.0, size=shape),
    "one value": lambda rng, shape: np.full(shape, 7.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 6), (9, 9), (30, 70), (60, 60)])
def test_equals_scipy(kind, rows, columns):
    """In cost; and columns are each taken once, by the valid rows alone."""
    rng = np.random.default_rng(rows * columns)
    cost = KINDS[kind](rng, (12, rows, columns)).astype(np.float32)
    valid = rng.uniform(size=(12, rows)) < 0.8
    valid[0], valid[1] = True, False
    found = np.asarray(jax.jit(solve)(cost, valid))
    np.testing.assert_array_equal(found[~valid], -1)
    for problem, chosen, there in zip(cost.astype(np.float64), found, valid, strict=True):
        problem, chosen = problem[there], chosen[there]
        assert len(set(chosen.tolist())) == len(chosen) and (chosen >= 0).all()
        best = problem[linear_sum_assignment(problem)].sum()
        np.testing.assert_allclose(problem[np.arange(len(chosen)), chosen].sum(), best, rtol=1e-5, atol=1e-5)


def test_problems_do_not_see_each_other():
    cost = np.random.default_rng(0).uniform(size=(7, 12, 15)).astype(np.float32)
    valid = jnp.ones((7, 12), bool)
    together = solve(cost, valid)
    for i in range(7):
        np.testing.assert_array_equal(solve(cost[i : i + 1], valid[:1])[0], together[i])


def test_nothing_is_scattered():
    program = jax.jit(solve).lower(jnp.zeros((3, 4, 5)), jnp.ones((3, 4), bool)).as_text()
    assert "scatter" not in program and "gather" in program
