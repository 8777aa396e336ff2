"""MQ-Former's experiments on small sets of real images: the model of `sample.py` with MQ-Former's queries and losses.

    python -m experiments.tables --table=mq2 --scale=sample --out=runs/sample \\
        --config.datasets.coco.root=COCO_PANOPTIC --config.datasets.boxes.root=COCO_BOXES \\
        --config.datasets.camvid.root=CAMVID

Arguments, joined by commas: `learnable` or `conditional` has queries of one kind alone; `datasets=coco+camvid+boxes`,
the default, is any of these and of `coco_things` (COCO's things as instances), `boxes_masks` (masks that
`python -m experiments.annotate` made from the boxes), `referring` and `foreground` (of `python -m data.phrases`, see
configs/real.py); `score=coco+camvid` any of `SCORED`. No value is from the paper; all are for a CPU.
"""

from ml_collections import ConfigDict

from configs import arguments as arguments_of
from configs import base, sample

KINDS = {"mixed": (20, 30), "learnable": (50, 0), "conditional": (0, 50)}
MADE = ("coco_things", "boxes_masks", "referring", "foreground")
SCORED = ("coco", "camvid", "coco_semantic", "coco_things", "referring")
_COCO = dict(vocabulary="coco_panoptic", task="instance")
_REFS = dict(task="referring", format="referring", annotations="refs.json", vocabulary="coco_panoptic")


def get_config(arguments: str = ""):
    """`arguments`: see above; ValueError for one that does not exist."""
    options = arguments_of.parse(arguments, tuple(KINDS), datasets=(*sample.DATASETS, *MADE), score=SCORED)
    c = sample.get_config()
    learnable, conditional = KINDS[next((kind for kind in KINDS if kind in options), "mixed")]
    fusion = "dual" if learnable and conditional else "none"
    c.model.mask_decoder.update(queries=learnable, conditional=conditional, boxes=True, fusion=fusion)
    c.model.classifier.loss = "focal"
    c.weights.update(ce=0.0, class_focal=4.0, l1=5.0, giou=2.0)
    c.merge_warmup_steps = base.NEVER  # MQ-Former has no MERGE in training (3.2).
    made = {
        "coco_things": base.dataset(**_COCO, ratio=2.0),
        "boxes_masks": base.dataset(
            task="instance", format="coco_instances", annotations="instances.json", vocabulary="coco_instances"
        ),
        # Phrases are about the whole image: it is never cropped.
        "referring": base.dataset(split="train", ratio=2.0, min_scale=0.8, max_scale=1.0, **_REFS),
        "foreground": base.dataset("", **{**base.INSPYRENET, "task": "foreground", "format": "foreground_png"}),
    }
    names = options.get("datasets", sample.DATASETS)
    whole = {**c.datasets, **made}
    c.datasets = ConfigDict({name: whole[name] for name in names})
    c.validation.referring = base.dataset(split="val", **_REFS)
    scored = options.get("score", ("coco", "camvid", "coco_semantic", "coco_things"))
    for name in [name for name in c.validation if name not in scored]:
        del c.validation[name]
    return c
