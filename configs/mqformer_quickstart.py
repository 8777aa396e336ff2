"""MQ-Former on the embedded world: learnable and conditional queries, boxes, fusion; the data of the quickstart.

    python -m experiments.main --config=configs/mqformer_quickstart.py --workdir=runs/mqformer

Arguments, joined by commas: `learnable` or `conditional` has queries of one kind alone, as many in all; `family` adds
two datasets to the three of the quickstart, phrases and foreground masks, in the same run; `hard` and `smoke` are the
worlds of configs/quickstart.py. `datasets=panoptic+boxes` trains on some of them, all being scored; `things` has the
panoptic set's things alone, as instances, and `boxes_masks` and `panoptic_phrases` have annotations that programs make:

    python -m experiments.annotate --mode=boxes --workdir=RUN --annotations=WORLD/boxes/train/boxes.json \\
        --images=WORLD/boxes/train/images --out=WORLD/boxes_masks
    python -m data.phrases --mode=template --format=coco_panoptic --root=WORLD/panoptic/train \\
        --out=WORLD/panoptic_phrases

MQ-Former has 100 and 300 queries (3.2); numbers, widths, depths
and weights are for 2 CPU cores. ours: the paper has no weights, Mask DINO's are class 4, l1 5, giou 2.
"""

from configs import base, quickstart

WORLDS = ("hard", "smoke")
KINDS = {"mixed": (20, 20), "learnable": (40, 0), "conditional": (0, 40)}
MORE = ("things", "boxes_masks", "panoptic_phrases")


def get_config(arguments: str = "mixed"):
    """`arguments`: see above; ValueError for one that does not exist."""
    words = [word for word in arguments.split(",") if word]
    for word in words:
        if word not in (*KINDS, *WORLDS, "family") and not word.startswith("datasets="):
            known = ", ".join((*KINDS, *WORLDS, "family", "datasets=NAMES"))
            raise ValueError(f"argument {word!r}: it is one of {known}")
    c = quickstart.get_config(next((word for word in words if word in WORLDS), "easy"))
    learnable, conditional = KINDS[next((word for word in words if word in KINDS), "mixed")]
    fusion = "dual" if learnable and conditional else "none"
    c.model.mask_decoder.update(queries=learnable, conditional=conditional, boxes=True, fusion=fusion)
    c.model.classifier.loss = "focal"
    c.weights.update(ce=0.0, class_focal=4.0, l1=5.0, giou=2.0)
    # MQ-Former has no MERGE in training (3.2).
    c.merge_warmup_steps = base.NEVER
    # Class scores are of yes-or-no questions and lower than a softmax's: PQ 53.4 instead of 47.0 with 0.5 (one seed).
    c.eval.score_threshold = 0.3
    if "family" in words:
        _add_phrases_and_foreground(c, "smoke" in words)
    chosen = next((word.partition("=")[2].split("+") for word in words if word.startswith("datasets=")), None)
    if chosen is not None:
        _choose(c, chosen)
    return c


def _add_phrases_and_foreground(c, smoke: bool) -> None:
    c.world.counts.update(referring=32 if smoke else 4000, foreground=32 if smoke else 500)
    whole = dict(min_scale=1.0, max_scale=1.0)
    c.datasets.referring = base.dataset(
        task="referring", format="referring", images="images", annotations="refs.json", ratio=5.0, **whole
    )
    c.datasets.foreground = base.dataset(task="foreground", format="foreground_png", ratio=1.0, **whole)
    for name in ("referring", "foreground"):
        c.datasets[name].root = f"{{world}}/{name}/train"
        c.validation[name] = c.datasets[name].copy_and_resolve_references()
        c.validation[name].root = f"{{world}}/{name}/val"
    c.datasets.referring.split, c.validation.referring.split = "train", "val"
    c.max_words = 16


def _choose(c, names: list[str]) -> None:
    known = (*c.datasets, *MORE)
    for name in names:
        if name not in known:
            raise ValueError(f"argument 'datasets=': no dataset {name!r}; it has {', '.join(known)}, joined by +")
    for name in [name for name in c.datasets if name not in names]:
        del c.datasets[name]
    # As often as the set that they are made of; phrases as those of the referring set.
    whole, made = dict(min_scale=1.0, max_scale=1.0), {}
    made["things"] = base.dataset(task="instance", vocabulary="shapes_panoptic", ratio=5.0, **whole)
    made["things"].root = "{world}/panoptic/train"
    made["boxes_masks"] = base.dataset(
        task="instance", format="coco_instances", vocabulary="shapes_boxes", root="{world}/boxes_masks",
        images="../boxes/train/images", annotations="instances.json", ratio=1.5, **whole,
    )  # fmt: skip
    made["panoptic_phrases"] = base.dataset(
        task="referring", format="referring", vocabulary="shapes_panoptic", root="{world}/panoptic_phrases",
        images="../panoptic/train/images", annotations="refs.json", split="train", ratio=5.0, **whole,
    )  # fmt: skip
    for name in names:
        if name in made:
            c.datasets[name] = made[name]
    c.validation.things = base.dataset(task="instance", vocabulary="shapes_panoptic", root="{world}/panoptic/val")
