"""The quickstart's smoke world with a model that compiles in seconds, and everything that a kill can hit on the way."""

from configs import quickstart


def get_config():
    c = quickstart.get_config("smoke")
    c.steps = 20
    c.batch_size = 4
    c.matcher = "hungarian_jit"  # Without a callback, which would have the step compiled anew by every start.
    c.model.backbone.update(stage_sizes=(1, 1, 1), width=8)
    c.model.pixel_decoder.update(width=16, ffn=32)
    c.model.mask_decoder.update(queries=8, width=16, ffn=32, layers=1, memory_levels=1)
    c.log.update(checkpoint_every=5, keep=5)
    del c.validation["boxes"], c.validation["semantic"]
    c.eval.update(every=10, images=1, baselines=False)
    return c
