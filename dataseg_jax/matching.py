"""One-to-one matching (paper 3.2, eq. 5), re-exported from `dataseg_jax.objective.matching`."""

from dataseg_jax.objective.matching import SOLVERS, match

__all__ = ["SOLVERS", "match"]
