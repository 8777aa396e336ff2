"""MERGE (paper 3.2, eq. 1 and 2), re-exported from `dataseg_jax.objective.merge`."""

from dataseg_jax.objective.merge import MergedProposals, merge_proposals, merge_slots

__all__ = ["MergedProposals", "merge_proposals", "merge_slots"]
