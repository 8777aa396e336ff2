"""The family of configs/mqformer_quickstart.py, smaller, with a tiny text encoder that is trained."""

from configs import mqformer_quickstart
from dataseg_jax.text.clip.spaces import CLIP_SPACES, ClipSpace

SPACE = ClipSpace(width=64, layers=1, projection=16, patch=16, hub="someone/tiny-clip")
STEPS = 10


def get_config():
    CLIP_SPACES["clip-tiny"] = SPACE
    c = mqformer_quickstart.get_config("family,smoke")
    c.world.counts.update(panoptic=8, semantic=8, boxes=8, referring=8, foreground=8, val=4)
    c.text_space, c.model.text.name = "clip-tiny", "clip"
    c.batch_size, c.steps, c.max_words = 2, STEPS, 6
    c.matcher = "hungarian_jit"
    c.model.backbone.update(stage_sizes=(1, 1, 1), width=8)
    c.model.pixel_decoder.update(width=16, ffn=32)
    c.model.mask_decoder.update(queries=6, conditional=5, width=16, ffn=32, layers=1, memory_levels=1, denoising=4)
    for dataset in c.datasets.values():
        dataset.ratio = 1.0
    c.log.update(every=1, checkpoint_every=5, keep=5)
    c.optim.update(warmup_steps=0, schedule="constant")
    c.eval.update(images=1, every=5, best="panoptic/pq", baselines=False)
    for name in ("boxes", "semantic", "unrelated"):
        del c.validation[name]
    return c
