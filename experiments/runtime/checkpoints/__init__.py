"""Checkpoints of a run: the newest ones, to continue from, and the one that scored best."""
