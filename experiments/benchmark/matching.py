"""Times the three solvers of the matching on the problems of one step, and SciPy alone on the same problems."""

import argparse
from collections.abc import Callable

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from dataseg_jax.errors import InputError
from dataseg_jax.objective.matching import SOLVERS, match
from experiments.benchmark.rows import Row
from experiments.benchmark.timing import core_seconds

NOISE = 0.05  # Of structured costs, where a right and a wrong proposal differ by about 1.


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=4, help="images of a step")
    parser.add_argument("--layers", type=int, default=10, help="predictions, each matched on its own")
    parser.add_argument("--proposals", type=int, default=100, help="N")
    parser.add_argument("--targets", type=int, nargs="+", default=[20, 50, 100], help="G, one table row each")
    parser.add_argument("--turns", type=int, default=5, help="how often each is timed; the fastest turn counts")


def run(flags: argparse.Namespace) -> list[Row]:
    """Times every solver on structured and on random costs. Raises InputError."""
    for name in ("batch", "layers", "proposals", "turns"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least 1")
    if min(flags.targets) < 1:
        raise InputError(f"--targets={min(flags.targets)}: it must be at least 1")
    lead = flags.batch, flags.layers
    rows = []
    for kind, costs_of in COSTS.items():
        for g in flags.targets:
            rows += _rows(f"{kind}, G={g}", costs_of(np.random.default_rng(g), *lead, flags.proposals, g), flags.turns)
    return rows


def random_costs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Uniform noise: the hardest problem for all solvers, unlike any step of training."""
    return rng.random(shape, np.float32)


def structured_costs(rng: np.random.Generator, b: int, layers: int, n: int, g: int) -> np.ndarray:
    """Several proposals compete for each target, all others cost about the same."""
    owner = rng.integers(0, g, (b, layers, n))
    quality = rng.random((b, layers, n), np.float32)
    hit = owner[..., None] == np.arange(g)
    return np.where(hit, -quality[..., None], 0.5) + NOISE * rng.random((b, layers, n, g), np.float32)


COSTS = {"structured": structured_costs, "random": random_costs}


def bare_scipy(cost: np.ndarray) -> np.ndarray:
    """The proposal of every target [..., G], -1 for none; a plain loop."""
    out = np.full((cost[..., 0, 0].size, cost.shape[-1]), -1)
    for i, problem in enumerate(cost.reshape(-1, *cost.shape[-2:])):
        row, column = linear_sum_assignment(problem)
        out[i, column] = row
    return out.reshape(*cost.shape[:-2], -1)


def total(cost: np.ndarray, assigned: np.ndarray) -> float:
    """The cost of an assignment, of all problems together."""
    chosen = np.take_along_axis(cost, np.maximum(assigned, 0)[..., None, :], -2)[..., 0, :]
    return float(np.where(assigned >= 0, chosen, 0).sum(dtype=np.float64))


def gap(cost: np.ndarray, assigned: np.ndarray, best: np.ndarray) -> float:
    """How much more an assignment costs than the best one, relative to how far the best is below the mean cost."""
    optimum = total(cost, best)
    mean = float(cost.mean((-2, -1), dtype=np.float64).sum()) * min(cost.shape[-2:])
    return (total(cost, assigned) - optimum) / (mean - optimum)


def _rows(what: str, cost: np.ndarray, turns: int) -> list[Row]:
    valid = np.ones((*cost.shape[:-2], cost.shape[-1]), bool)
    on_device = jax.device_put((cost, valid))
    best = bare_scipy(cost)

    def solve(solver: str) -> Callable[[], np.ndarray]:
        compiled = jax.jit(lambda cost, valid: match(cost, valid, solver=solver))
        return lambda: np.asarray(compiled(*on_device))

    things = {solver: solve(solver) for solver in SOLVERS}
    gaps = {solver: gap(cost, thing(), best) for solver, thing in things.items()}  # Compiles, too.
    ms = {key: 1000 * s for key, s in core_seconds({**things, "scipy": lambda: bare_scipy(cost)}, turns).items()}
    beside = f"bare SciPy {ms['scipy']:.3g} ms"
    problems = f"{what}, {cost.shape[0]} x {cost.shape[1]} problems"
    rows = [Row(f"{problems}: {solver}", ms[solver], "ms", beside, ms["scipy"] / ms[solver]) for solver in SOLVERS]
    rows.append(Row(f"{problems}: hungarian without the solver", ms["hungarian"] - ms["scipy"], "ms"))
    return [*rows, Row(f"{problems}: sinkhorn's gap to the least cost", 100 * gaps["sinkhorn"], "%")]
