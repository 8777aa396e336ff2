"""One-to-one matching of merged proposals to targets (paper 3.2): costs (eq. 5) and three solvers.

All solvers keep one contract, that of `match`. `hungarian` solves on the host with SciPy through one
callback; `hungarian_jit` is exact on the device; `sinkhorn` is approximate, on the device, and needs no
dynamic control flow.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental.buffer_callback import buffer_callback
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from dataseg_jax.errors import InputError
from dataseg_jax.objective import losses
from dataseg_jax.tasks import Weights

# ours: with costs scaled to [0, 1]. Against .02 and 100 iterations: never worse on structured costs, and up to 1.45
# instead of 2.0 times the optimum on uniform noise.
SINKHORN_EPSILON = 0.005
SINKHORN_ITERATIONS = 200
LARGEST = 1e30  # Finite costs are clipped to this magnitude, so that their differences stay finite in float32.


@jax.named_scope("match")
def match(
    cost: Float[Array, "*a n g"],
    valid: Bool[Array, "*a g"],
    proposal_valid: Bool[Array, "*a n"] | None = None,
    solver: str = "hungarian",
    mesh: Mesh | None = None,
) -> Int[Array, "*a g"]:
    """Assigns targets to proposals at the least total cost.

    Exactly min(valid proposals, valid targets) targets get a proposal, each a different one; the others,
    and all targets that are not valid, get -1. Costs that are not finite count as just above the largest
    finite cost of their problem, so they are chosen last and never poison the rest.

    Args:
      cost: any leading axes, then N proposals by G targets. No gradient flows through it.
      valid: the targets that exist.
      proposal_valid: the proposals that exist; None: all.
      solver: "hungarian" (exact, float64 on the host), "hungarian_jit" (exact on the device, to about 1e-6 of the
        largest valid cost) or "sinkhorn" (approximate).
      mesh: with "hungarian", the mesh whose every axis shards the first axis of `cost`: each shard then
        solves its own problems by its own callback, and the global cost is never gathered.

    Returns:
      int32: the proposal of each target, or -1.

    Raises:
      InputError: no such solver.
    """
    if solver not in SOLVERS:
        raise InputError(f"matcher {solver!r}: it is one of {', '.join(SOLVERS)}")
    if 0 in cost.shape:
        return jnp.full(valid.shape, -1, jnp.int32)
    if proposal_valid is None:
        proposal_valid = jnp.ones(cost.shape[:-1], bool)
    cost = clean_cost(jax.lax.stop_gradient(cost), valid, proposal_valid)
    solve = SOLVERS[solver]
    if solve is _hungarian and mesh is not None and mesh.size > 1:
        spec = P(mesh.axis_names)
        # Every mesh axis must be manual: a callback under automatic sharding gathers its global operand.
        solve = jax.shard_map(solve, mesh=mesh, in_specs=(spec, spec, spec), out_specs=spec, check_vma=False)
    assigned = solve(cost, valid, proposal_valid)
    return jnp.where(valid, assigned, -1).astype(jnp.int32)


def clean_cost(cost, valid, proposal_valid):
    """Replaces every entry that is not finite or lies outside the valid rows and columns, float32.

    Non-finite entries of valid pairs get a constant just above the largest finite valid cost, invalid
    pairs one a little above that: with a single constant for both, a solver could leave a valid pair
    unmatched at no cost. Both stay near the costs, because large constants lose float32 digits.
    """
    cost = cost.astype(jnp.float32)
    pair = proposal_valid[..., :, None] & valid[..., None, :]
    finite = jnp.isfinite(cost) & pair
    cost = jnp.clip(cost, -LARGEST, LARGEST)
    largest = jnp.max(jnp.where(finite, cost, -jnp.inf), (-2, -1), keepdims=True)
    smallest = jnp.min(jnp.where(finite, cost, jnp.inf), (-2, -1), keepdims=True)
    some = finite.any((-2, -1), keepdims=True)
    largest, smallest = jnp.where(some, largest, 0.0), jnp.where(some, smallest, 0.0)
    step = 0.05 * (largest - smallest) + 1e-3 * jnp.maximum(jnp.abs(largest), 1.0)
    return jnp.where(finite, cost, jnp.where(pair, largest + step, largest + 2 * step))


def count_replaced(cost, valid, proposal_valid) -> Int[Array, "*a"]:
    """Entries of valid pairs that `match` had to replace because they were not finite."""
    pair = proposal_valid[..., :, None] & valid[..., None, :]
    return (pair & ~jnp.isfinite(cost)).sum((-2, -1))


def _solve_on_host(cost, valid, proposal_valid):
    # numpy only: calling jax from inside a callback can deadlock.
    cost, valid, proposal_valid = (np.asarray(x) for x in (cost, valid, proposal_valid))
    n, g = cost.shape[-2:]
    out = np.full((valid.size // g, g), -1, np.int32)
    problems = zip(cost.reshape(-1, n, g), valid.reshape(-1, g), proposal_valid.reshape(-1, n), strict=True)
    for i, (c, columns, rows) in enumerate(problems):
        rows, columns = np.flatnonzero(rows), np.flatnonzero(columns)
        if len(rows) and len(columns):
            row, column = linear_sum_assignment(c[np.ix_(rows, columns)])
            out[i, columns[column]] = rows[row]
    return out.reshape(valid.shape)


def _fill_on_host(_, out, cost, valid, proposal_valid):
    np.asarray(out)[...] = _solve_on_host(cost, valid, proposal_valid)


def _hungarian(cost, valid, proposal_valid):
    result = jax.ShapeDtypeStruct(valid.shape, jnp.int32)

    # pure_callback wraps its operands in jax arrays, and waiting for those inside the callback can starve: on one
    # core it hung after some thousand steps. Where host and device are one, the buffers themselves are handed over.
    def on_cpu(*operands):
        return buffer_callback(_fill_on_host, result, vmap_method="broadcast_all")(*operands)

    def elsewhere(*operands):
        return jax.pure_callback(_solve_on_host, result, *operands, vmap_method="broadcast_all")

    return jax.lax.platform_dependent(cost, valid, proposal_valid, cpu=on_cpu, default=elsewhere)


def _per_problem(solve):
    """Lifts a solver of one problem to any leading axes."""

    def batched(cost, valid, proposal_valid):
        n, g = cost.shape[-2:]
        flat = jax.vmap(solve)(cost.reshape(-1, n, g), valid.reshape(-1, g), proposal_valid.reshape(-1, n))
        return flat.reshape(valid.shape)

    return batched


def _hungarian_jit(cost, valid, proposal_valid):
    row, column = optax.assignment.hungarian_algorithm(cost)
    matched = proposal_valid[row] & valid[column]
    return jnp.full(valid.shape, -1, jnp.int32).at[column].set(jnp.where(matched, row, -1).astype(jnp.int32))


def _sinkhorn(cost, valid, proposal_valid):
    """Entropic transport in the log domain, rounded greedily: the largest entry of the plan first.

    A slack row and a slack column take the surplus of the larger side, so both sides carry equal mass.
    """
    pair = proposal_valid[:, None] & valid[None, :]
    smallest = jnp.min(jnp.where(pair, cost, jnp.inf))
    largest = jnp.max(jnp.where(pair, cost, -jnp.inf))
    scaled = jnp.where(pair, (cost - smallest) / jnp.maximum(largest - smallest, 1e-12), 0.0)
    n_rows, n_columns = proposal_valid.sum(), valid.sum()
    never = -1e9  # log 0, finite so that differences of it are 0 and not NaN.
    kernel = jnp.pad(jnp.where(pair, -scaled / SINKHORN_EPSILON, never), ((0, 1), (0, 1)), constant_values=0.0)
    kernel = kernel.at[-1, -1].set(never)
    log = lambda mass: jnp.where(mass > 0, jnp.log(jnp.maximum(mass, 1e-30)), never)  # noqa: E731
    rows = log(jnp.append(proposal_valid, jnp.maximum(n_columns - n_rows, 0)).astype(jnp.float32))
    columns = log(jnp.append(valid, jnp.maximum(n_rows - n_columns, 0)).astype(jnp.float32))

    def iteration(_, potentials):
        u, v = potentials
        u = rows - jax.nn.logsumexp(kernel + v[None, :], 1)
        v = columns - jax.nn.logsumexp(kernel + u[:, None], 0)
        return jnp.maximum(u, never), jnp.maximum(v, never)

    u, v = jax.lax.fori_loop(0, SINKHORN_ITERATIONS, iteration, (jnp.zeros_like(rows), jnp.zeros_like(columns)))
    plan = (kernel + u[:, None] + v[None, :])[:-1, :-1]
    plan = jnp.where(pair, plan, -jnp.inf)

    def take(_, carry):
        plan, assigned = carry
        row, column = jnp.unravel_index(jnp.argmax(plan), plan.shape)
        some = plan[row, column] > -jnp.inf
        assigned = assigned.at[column].set(jnp.where(some, row, assigned[column]).astype(jnp.int32))
        taken = (jnp.arange(plan.shape[0]) == row)[:, None] | (jnp.arange(plan.shape[1]) == column)[None, :]
        return jnp.where(some & taken, -jnp.inf, plan), assigned

    start = plan, jnp.full(valid.shape, -1, jnp.int32)
    return jax.lax.fori_loop(0, min(plan.shape), take, start)[1]


SOLVERS = {
    "hungarian": _hungarian,
    "hungarian_jit": _per_problem(_hungarian_jit),
    "sinkhorn": _per_problem(_sinkhorn),
}


@jax.named_scope("cost")
def matching_cost(
    class_logits: Float[Array, "b n k1"],
    mask_logits: Float[Array, "b n p"],
    projections: losses.Projections,
    labels: Int[Array, "b g"],
    masks: Float[Array, "b g p"],
    box_projections: losses.Projections,
    pixel_valid: Bool[Array, "b p"],
    weights: Weights,
) -> Float[Array, "b n g"]:
    """Eq. 5: `-mu_ce p + mu_focal L_focal + mu_dice L_dice + mu_proj L_proj`, weighted by each image's row.

    Args:
      mask_logits, masks (coverage in [0, 1]), pixel_valid: on P cells, all of them or a sample.
      projections, box_projections: of the dense masks' probabilities [B, N, ...] and of the boxes [B, G, ...].
      weights: arrays [B].
    """
    p = jax.nn.softmax(class_logits.astype(jnp.float32), -1)
    cost = -_per_image(weights.ce) * jnp.take_along_axis(p, labels[..., None, :], -1)
    cost += _per_image(weights.focal) * losses.pairwise_focal(mask_logits, masks, pixel_valid)
    cost += _per_image(weights.dice) * losses.pairwise_dice(jax.nn.sigmoid(mask_logits), masks, pixel_valid)
    return cost + _per_image(weights.proj) * losses.pairwise_projection_dice(projections, box_projections)


def _per_image(weight):
    return weight[:, None, None]
