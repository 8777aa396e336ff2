"""Supervision: MERGE, matching and the loss of a batch (paper 3.2, 3.3, 3.5)."""
