"""Points and boxes to masks on the embedded world, whose things have parts: SAM's training, small.

    python -m experiments.main --config=configs/promptable_quickstart.py --workdir=runs/promptable

Every thing has a core, so one click on it is ambiguous: three masks answer it, and the best of them learns. Arguments,
joined by commas: `single` has one answer in its place; `smoke` runs a few steps, for CI. No value is from the paper,
whose model has 100 times as many parameters; weights and rounds are SAM's, the rest is for 2 CPU cores.
"""

import dataclasses

from configs import base
from data.shapes import World


def get_config(arguments: str = ""):
    """`arguments`: see above; ValueError for one that does not exist."""
    words = [word for word in arguments.split(",") if word]
    for word in words:
        if word not in ("single", "smoke"):
            raise ValueError(f"argument {word!r}: it is single or smoke")
    smoke = "smoke" in words
    c = base.get_config()
    c.world.constants = dataclasses.asdict(World(size=64))
    c.world.counts = dict(panoptic=1, semantic=1, boxes=1, parts=32 if smoke else 4000, val=8 if smoke else 100)
    c.steps = 12 if smoke else 3000
    c.batch_size = 16
    c.image_size = 64
    c.max_targets = 16
    c.model.backbone = dict(
        name="vitdet", width=96, depth=4, heads=4, window=4, global_blocks=(0, 1, 2, 3), patch=16, pretrain_grid=4,
        mlp_ratio=4, drop_path=0.0, remat=False, scan=False,
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="sam_neck", width=64)
    c.model.prompt_encoder = dict(width=64, mask_channels=16)
    c.model.mask_decoder = dict(width=64, layers=2, heads=4, ffn=256, iou_hidden=64, iou_layers=3)
    c.model.classifier = dict()
    c.model.interaction = dict(
        prompts=4, clicks=4, refinements=2, box=0.5, box_noise=0.1, most_box_noise=2.0, most_share=0.9,
        multimask="single" not in words,
    )  # fmt: skip
    c.weights = dict(ce=0.0, focal=20.0, dice=1.0, proj=0.0, iou=1.0, background=0.0)
    c.optim.update(learning_rate=1e-3, backbone_multiplier=1.0, warmup_steps=100, clip=1.0)
    c.log.update(every=50, checkpoint_every=6 if smoke else 500)
    whole = dict(min_scale=1.0, max_scale=1.0)
    c.datasets.parts = base.dataset(
        task="prompts", format="coco_instances", vocabulary="shapes_parts", root="{world}/parts/train", **whole
    )
    c.validation.parts = c.datasets.parts.copy_and_resolve_references()
    c.validation.parts.root = "{world}/parts/val"
    return c
