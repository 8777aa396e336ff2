"""Clicks and boxes to masks on the embedded world, beside the words of the quickstart: SAM's training, small.

    python -m experiments.main --config=configs/promptable_quickstart.py --workdir=runs/promptable

One model learns all: the quickstart's three datasets, and things with a core, so that one click on it is ambiguous.
Three masks answer a first prompt, and the best of them learns; each has a category too. Arguments, joined by commas:
`single` has one answer to a first prompt; `clicks` trains on the things with a core alone; `smoke` runs a few steps,
for CI. Rounds and weights of prompts are SAM's, at second hand; the rest is for 2 CPU cores.
"""

from configs import base, quickstart


def get_config(arguments: str = ""):
    """`arguments`: see above; ValueError for one that does not exist."""
    words = [word for word in arguments.split(",") if word]
    for word in words:
        if word not in ("single", "clicks", "smoke"):
            raise ValueError(f"argument {word!r}: it is single, clicks or smoke")
    smoke = "smoke" in words
    c = quickstart.get_config("smoke" if smoke else "easy")
    c.world.counts.update(parts=32 if smoke else 4000)
    c.max_targets = 16
    c.model.prompt_encoder = dict(width=64, mask_channels=16)
    c.model.prompt_decoder = dict(
        width=64, layers=2, heads=4, ffn=256, iou_hidden=64, iou_layers=3, skips=True, upscaled_channels=32
    )
    c.model.prompt_stride = 8  # Of 64 pixels, the level of stride 16 has 4 x 4 cells.
    c.model.interaction = dict(
        prompts=4,  # Of 4.6 objects an image on average; prompts without an object cost as much.
        clicks=2,
        refinements=1,
        box=0.5,
        box_noise=0.1,
        most_box_noise=2.0,
        most_share=0.9,
        multimask="single" not in words,
    )
    c.weights.iou = 1.0
    c.datasets.parts = base.dataset(
        task="prompts", format="coco_instances", vocabulary="shapes_parts", ratio=5.0, min_scale=1.0, max_scale=1.0
    )
    if "clicks" in words:
        c.world.counts.update(panoptic=1, semantic=1, boxes=1)
        for name in ("panoptic", "semantic", "boxes"):
            del c.datasets[name]
        for name in list(c.validation):
            del c.validation[name]
        # Two queries, for a model needs some: prompts are what is trained.
        c.model.mask_decoder.update(queries=2, layers=1)
        # Small batches allow more steps in the same time.
        c.batch_size, c.steps = 8, min(c.steps, 3000)
        c.optim.update(learning_rate=2e-3, schedule="cosine", average=0.998)
    c.datasets.parts.root = "{world}/parts/train"
    c.validation.parts = c.datasets.parts.copy_and_resolve_references()
    c.validation.parts.root = "{world}/parts/val"
    c.validation.parts.limit = 100
    return c
