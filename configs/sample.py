"""The paper's experiments on small sets of real images: the model of `real.py:scratch`, every dataset always scored.

    python -m experiments.tables --table=1 --scale=sample --out=runs/sample --config.datasets.coco.root=COCO_PANOPTIC \\
        --config.datasets.boxes.root=COCO_BOXES --config.datasets.camvid.root=CAMVID

The folders are those of `configs/real.py`. `experiments.tables` holds images out; run on its own, this config
scores the images that it trains on. Arguments, joined by commas: `datasets=coco+camvid` (any of coco, camvid, boxes),
`queries=25`, `dataset_specific`, and `transfer`: ADE20K under --config.validation.ade.root=ADE, never trained on.
No value is from the paper; all are for a CPU.
"""

from ml_collections import ConfigDict

from configs import arguments as arguments_of
from configs import base, real

DATASETS = ("coco", "camvid", "boxes")
QUERIES = 50
PLACES = ("format", "root", "images", "annotations", "masks", "split")


def get_config(arguments: str = ""):
    """`arguments`: see above; ValueError for one that does not exist."""
    options = arguments_of.parse(arguments, ("dataset_specific", "transfer"), datasets=DATASETS)
    names = options.get("datasets", DATASETS)
    c = real.get_config("scratch")
    whole = c.datasets
    c.datasets = ConfigDict({name: whole[name] for name in DATASETS if name in names})
    for dataset in c.datasets.values():
        dataset.part = ""
    c.model.mask_decoder.queries = int(options.get("queries", QUERIES))
    c.model.dataset_specific = "dataset_specific" in options
    c.eval.update(baselines=True, write_predictions=False, batch_size=8)
    # Without it, training on CamVid alone never left one class (mIoU 0.1 after 125 steps; 25.4 with 60 steps of it).
    c.merge_warmup_steps = c.steps // 2
    c.eval.score_threshold = 0.0  # After few images and steps scores are low: the arg-max alone decides.
    coco = dict(format="coco_panoptic", vocabulary="coco_panoptic")
    c.validation = ConfigDict(dict(
        coco=base.dataset(task="panoptic", **coco),
        camvid=base.dataset(task="semantic", format="label_png", vocabulary="camvid"),
        coco_semantic=base.dataset(task="semantic", **coco),
        coco_things=base.dataset(task="instance", **coco),
    ))  # fmt: skip
    for name in ("coco", "camvid"):
        _same_files(c.validation[name], c.datasets[name] if name in names else c.validation[name])
    for name in ("coco_semantic", "coco_things"):
        _same_files(c.validation[name], c.validation.coco)
    if "transfer" in options:
        c.validation.ade = base.dataset("ade20k_val")
        c.validation.ade.update(images="images/validation|images", masks="annotations/validation|annotations")
    if c.model.dataset_specific:  # A dataset's own modules serve only its own words.
        del c.validation["coco_things"]
    return c


def _same_files(validation, other):
    if validation is not other:
        for key in PLACES:
            validation[key] = other.get_oneway_ref(key)
