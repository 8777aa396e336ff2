"""The small run again, shorter, and a sweep of two seeds: the least that trains, saves, evaluates and keeps a best."""

from configs import sweeping
from tests.experiments import small_run


def get_config():
    c = small_run.get_config()
    c.steps = 12
    c.log.update(checkpoint_every=3, every=1)  # The log runs ahead of the checkpoints.
    c.eval.update(every=6, extremes=1, write_predictions=True)
    for name in ("trained_words", "synonyms", "unrelated"):
        del c.validation[name]
    return c


def sweep():
    yield from sweeping.grid({"seed": (0, 1)})
