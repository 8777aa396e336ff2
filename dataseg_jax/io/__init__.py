"""Files: checkpoints, weight files, and weights of other libraries."""
