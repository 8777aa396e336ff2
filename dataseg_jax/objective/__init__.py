"""The loss of a batch: MERGE, matching and the terms of the loss (paper 3.2, 3.3, 3.5)."""
