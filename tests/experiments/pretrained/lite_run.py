"""tests/experiments/small_run.py with a small EfficientNet-Lite under frozen batch norm, for two steps."""

from tests.experiments import small_run


def get_config():
    c = small_run.get_config()
    c.steps = 2
    c.model.backbone = dict(name="efficientnet_lite", width=0.25, depth=0.25, norm="frozen_batch", drop_path=0.1)
    c.model.mean, c.model.std = (127.0,) * 3, (128.0,) * 3
    c.log.every = 1
    c.eval.every = 0
    c.validation = {}
    return c
