"""MQ-Former on the embedded world: learnable and conditional queries, boxes, fusion; the data of the quickstart.

    python -m experiments.main --config=configs/mqformer_quickstart.py --workdir=runs/mqformer

Arguments, joined by commas: `learnable` or `conditional` has queries of one kind alone, as many in all; `family` adds
two datasets to the three of the quickstart, phrases and foreground masks, in the same run; `hard` and `smoke` are the
worlds of configs/quickstart.py. MQ-Former has 100 and 300 queries (3.2); numbers, widths, depths
and weights are for 2 CPU cores. ours: the paper has no weights, Mask DINO's are class 4, l1 5, giou 2.
"""

from configs import base, quickstart

WORLDS = ("hard", "smoke")
KINDS = {"mixed": (20, 20), "learnable": (40, 0), "conditional": (0, 40)}


def get_config(arguments: str = "mixed"):
    """`arguments`: see above; ValueError for one that does not exist."""
    words = [word for word in arguments.split(",") if word]
    for word in words:
        if word not in (*KINDS, *WORLDS, "family"):
            raise ValueError(f"argument {word!r}: it is one of {', '.join((*KINDS, *WORLDS, 'family'))}")
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
