"""Co-trains one small model on the embedded world's three datasets, on any laptop.

    python -m experiments.main --config=configs/quickstart.py --workdir=runs/quickstart

    python -m experiments.sweep --config=configs/quickstart.py --out=runs/sweep --config.world.root=runs/world

The world is written to the workdir first. Arguments: `configs/quickstart.py:hard` has more and smaller things whose
colour says nothing about their class; `configs/quickstart.py:smoke` runs a few steps of a few images, for CI.
No value is from the paper; all are from measurements on 2 CPU cores.
"""

import dataclasses

from configs import base, sweeping
from data.shapes import World

IMAGES = {
    "easy": dict(panoptic=4000, semantic=150, boxes=2000, val=200),
    "hard": dict(panoptic=4000, semantic=150, boxes=2000, val=200),
    "smoke": dict(panoptic=64, semantic=32, boxes=32, val=16),
}

OPEN_VOCABULARY = {
    "trained_words": "",
    "synonyms": "shapes_synonyms",
    "unrelated": "shapes_unrelated",
}


def get_config(world: str = "easy"):
    """`world`: easy, hard or smoke."""
    c = base.get_config()
    # Every constant of the drawing is a field, --config.world.constants.noise=0.03; `data/shapes/world.py`
    # describes them. Easy: 1-4 things of radius .15-.28 of the side, hues of neighbouring things touch.
    c.world.constants = dataclasses.asdict(World(difficulty="hard" if world == "hard" else "easy", size=64))
    c.world.counts = IMAGES[world]

    c.steps = 24 if world == "smoke" else 4200
    c.batch_size = 16
    c.image_size = 64
    c.max_targets = 12
    # Where colour does not separate classes, MERGE from the start unites all proposals before any class is learned, and
    # training does not recover.
    c.merge_warmup_steps = 2000 if world == "hard" else 0
    c.model.backbone = dict(name="resnet", stage_sizes=(1, 2, 2), width=32, bottleneck=False, norm="group", stem="deep")
    c.model.pixel_decoder = dict(name="transformer_fpn", width=64, layers=1, heads=4, ffn=256)
    c.model.mask_decoder.update(queries=20, width=64, layers=4, heads=4, ffn=256, memory_levels=2)

    # A small weight: the projection pulls a mask to the sides of its box, and a star to fill it.
    c.weights.update(ce=2.0, focal=5.0, dice=5.0, proj=0.5)
    c.optim.update(learning_rate=1e-3, backbone_multiplier=1.0, warmup_steps=100, clip=1.0)
    c.log.update(every=50, checkpoint_every=12 if world == "smoke" else 500)
    c.eval.update(baselines=True, images=6)

    whole = dict(min_scale=1.0, max_scale=1.0)  # Thousands of images: resizing 64 pixels would only blur them.
    c.datasets.panoptic = base.dataset(task="panoptic", vocabulary="shapes_panoptic", ratio=5.0, **whole)
    c.datasets.semantic = base.dataset(task="semantic", format="label_png", vocabulary="shapes_semantic", ratio=1.0)
    c.datasets.boxes = base.dataset(task="boxes", format="coco_boxes", vocabulary="shapes_boxes", ratio=1.5, **whole)
    for name in ("panoptic", "semantic", "boxes"):
        c.datasets[name].root = f"{{world}}/{name}/train"
        c.validation[name] = c.datasets[name].copy_and_resolve_references()
        c.validation[name].root = f"{{world}}/{name}/val"
    c.validation.boxes.truth = "masks.json"
    # The same images under the trained words, under synonyms and under unrelated words. Words that were not trained on
    # get lower scores: here the arg-max alone decides.
    for name, words in OPEN_VOCABULARY.items():
        c.validation[name] = base.dataset(vocabulary="shapes_panoptic", words=words, score_threshold=0.0)
        c.validation[name].root = c.validation.panoptic.get_oneway_ref("root")
    return c


def sweep():
    """What MERGE is worth, in training with it and without it, over three seeds."""
    # More warm-up steps than there are: training has no MERGE. In post-processing it is always on.
    for name, steps in (("merge", 0), ("no_merge", 1_000_000)):
        for variant in sweeping.grid({"merge_warmup_steps": (steps,), "seed": range(3)}):
            yield {"name": f"{name}_seed{variant['seed']}", **variant}
