"""Many runs of one config that differ in a few fields: started, restarted, and gathered into a table and a plot."""

from experiments.sweep.gather import Result, Summary, gather, over_seeds

__all__ = ["Result", "Summary", "gather", "over_seeds"]
