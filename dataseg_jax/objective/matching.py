"""One-to-one matching of merged proposals to targets (paper 3.2): costs (eq. 5) and three solvers.

All solvers keep one contract, that of `match`. `hungarian` solves on the host with SciPy through one
callback; `hungarian_jit` is exact on the device; `sinkhorn` is approximate, on the device, and needs no
dynamic control flow.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from dataseg_jax.errors import InputError
from dataseg_jax.objective.solvers import SOLVERS
from dataseg_jax.objective.tasks import Weights
from dataseg_jax.objective.terms import TERMS
from dataseg_jax.objective.terms.term import Prediction, Truth

LARGEST = 1e30  # Finite costs are clipped to this magnitude, so that their differences stay finite in float32.


@jax.named_scope("match")
def match(
    cost: Float[Array, "*a n g"],
    valid: Bool[Array, "*a g"],
    proposal_valid: Bool[Array, "*a n"] | None = None,
    solver: str = "hungarian",
    mesh: Mesh | None = None,
    allowed: Bool[Array, "*a n g"] | None = None,
) -> Int[Array, "*a g"]:
    """Assigns targets to proposals at the least total cost.

    Exactly min(valid proposals, valid targets) targets get a proposal, each a different one; the others,
    and all targets that are not valid, get -1. Costs that are not finite count as just above the largest
    finite cost of their problem, so they are chosen last and do not affect the others.

    Args:
      cost: any leading axes, then N proposals by G targets. No gradient flows through it.
      valid: the targets that exist.
      proposal_valid: the proposals that exist; None: all.
      solver: "hungarian" (exact, float64 on the host), "hungarian_jit" (exact on the device, to about 1e-6 of the
        largest valid cost) or "sinkhorn" (approximate).
      mesh: whose every axis shards the first axis of `cost`: each shard then solves its own problems, by a callback or
        a loop of its own, and the global cost is never gathered.
      allowed: the pairs that may be matched; None: all. As many targets as possible get a proposal (by "sinkhorn":
        about as many), the others -1.

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
    cost = clean_cost(jax.lax.stop_gradient(cost), valid, proposal_valid, allowed)
    solve = SOLVERS[solver]
    if mesh is not None and mesh.size > 1:
        spec = P(mesh.axis_names)
        # Every mesh axis must be manual: a callback under automatic sharding gathers its global operand, and a loop
        # asks all devices after each of its iterations whether one of them goes on.
        solve = jax.shard_map(solve, mesh=mesh, in_specs=(spec, spec, spec, spec), out_specs=spec, check_vma=False)
    assigned = solve(cost, valid, proposal_valid, allowed)
    if allowed is not None:
        pair = jnp.take_along_axis(allowed, jnp.maximum(assigned, 0)[..., None, :], -2)[..., 0, :]
        assigned = jnp.where(pair, assigned, -1)
    return jnp.where(valid, assigned, -1).astype(jnp.int32)


def clean_cost(cost, valid, proposal_valid, allowed=None):
    """Replaces every entry that is not finite or lies outside the valid rows and columns, float32.

    Non-finite entries of valid pairs get a constant just above the largest finite valid cost, invalid
    pairs one a little above that: with a single constant for both, a solver could leave a valid pair
    unmatched at no cost. Both stay near the costs, because large constants lose float32 digits. A forbidden pair
    costs more than any set of allowed pairs can save, so that it is chosen only where no allowed pair is left.
    """
    cost = cost.astype(jnp.float32)
    exists = proposal_valid[..., :, None] & valid[..., None, :]
    pair = exists if allowed is None else exists & allowed
    finite = jnp.isfinite(cost) & pair
    cost = jnp.clip(cost, -LARGEST, LARGEST)
    largest = jnp.max(jnp.where(finite, cost, -jnp.inf), (-2, -1), keepdims=True)
    smallest = jnp.min(jnp.where(finite, cost, jnp.inf), (-2, -1), keepdims=True)
    some = finite.any((-2, -1), keepdims=True)
    largest, smallest = jnp.where(some, largest, 0.0), jnp.where(some, smallest, 0.0)
    step = 0.05 * (largest - smallest) + 1e-3 * jnp.maximum(jnp.abs(largest), 1.0)
    cleaned = jnp.where(finite, cost, jnp.where(pair, largest + step, largest + 2 * step))
    if allowed is None:
        return cleaned
    forbidden = largest + (min(cost.shape[-2:]) + 1) * (largest - smallest + 2 * step)
    return jnp.where(exists & ~allowed, forbidden, cleaned)


def count_replaced(cost, valid, proposal_valid, allowed=None) -> Int[Array, "*a"]:
    """Entries of valid pairs that `match` had to replace because they were not finite."""
    pair = proposal_valid[..., :, None] & valid[..., None, :]
    pair = pair if allowed is None else pair & allowed
    return (pair & ~jnp.isfinite(cost)).sum((-2, -1))


@jax.named_scope("cost")
def matching_cost(prediction: Prediction, truth: Truth, weights: Weights) -> Float[Array, "b n g"]:
    """Eq. 5: the sum over terms of weight times cost, each image by the weights of its row, arrays [B]."""
    known = ((name, term) for name, term in TERMS.items() if term.cost is not None and term.applies(prediction))
    terms = ((weights[name], term.cost) for name, term in known)
    first, *others = (weight[:, None, None] * cost(prediction, truth) for weight, cost in terms)
    return sum(others, first)
