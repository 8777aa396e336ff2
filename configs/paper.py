"""What the paper's three models share: COCO panoptic, ADE20K semantic and Objects365 boxes (paper 4), in one place.

Not run by itself. Arguments of `configs/r50.py`, `vitdet_b.py` and `vitdet_l.py`, joined by commas: `tiny` (the same
structure at a size for tests), `queries=50` (Table 4: 50, 100, 150), `datasets=coco+ade` (Table 2: any of coco, ade,
objects365), `dataset_specific` (Table 5) and `transfer` (more datasets to score, never trained on: all of `TRANSFER`,
or those of `transfer=voc+context59`), as in `configs/r50.py:queries=50,datasets=coco+ade`.
"""

from configs import arguments as arguments_of
from configs import base

# Name -> its training and its validation part in the catalogue.
DATASETS = {
    "coco": ("coco_panoptic_train", "coco_panoptic_val"),
    "ade": ("ade20k_train", "ade20k_val"),
    "objects365": ("objects365_train", "objects365_instance_val"),  # The paper's 1,000 images with masks.
}
# Scored on ADE's images and names, never trained on as panoptic (Table 1).
ADE_PANOPTIC = "ade20k_panoptic_val"
# Scored with words that may not occur in training.
TRANSFER = {
    "voc": "voc_val",
    "cityscapes": "cityscapes_panoptic_val",
    "context59": "pascal_context_59_val",
    "context459": "pascal_context_459_val",
    "coco_semantic": "coco_panoptic_val",  # The same files as panoptic: one region per category.
}
RATIOS = dict(coco=4.0, ade=1.0, objects365=2.0)  # ours, untried at this size; the paper's are not public.


def get_config(arguments: str):
    """(config without a backbone and a schedule, the arguments); ValueError for an argument that does not exist."""
    options = arguments_of.parse(
        arguments, ("dataset_specific", "score_all", "tiny"), datasets=list(DATASETS), transfer=list(TRANSFER)
    )
    names = options.get("datasets", list(DATASETS))
    c = base.get_config()
    c.image_size = 1024  # ours: Mask2Former's and ViTDet's on COCO, as is the jitter of 0.1 to 2.0.
    c.loss_points = 12_544  # ours: Mask2Former's.
    c.model.dtype = "bfloat16"  # ours
    c.model.mask_decoder.queries = int(options.get("queries", 100))  # Paper 4.
    c.model.dataset_specific = "dataset_specific" in options
    for name in names:
        c.datasets[name] = base.dataset(DATASETS[name][0], ratio=RATIOS[name], min_scale=0.1, max_scale=2.0)
        c.datasets[name].colour_jitter = 1.0 if name == "ade" else 0.0  # ours: MaskFormer's on ADE20K.
    for name in DATASETS if "score_all" in options else names:
        c.validation[name] = base.dataset(DATASETS[name][1])
        if name in names:
            c.validation[name].root = c.datasets[name].get_oneway_ref("root")
    if "ade" in c.validation:
        c.validation.ade_panoptic = base.dataset(ADE_PANOPTIC)
        c.validation.ade_panoptic.root = c.validation.ade.get_oneway_ref("root")
    _add_transfer(c, options.get("transfer", ()))
    return c, options


def _add_transfer(c, names):
    """Roots have to be given, except where another dataset of the config is read from the same files."""
    for name in names:
        c.validation[name] = base.dataset(TRANSFER[name])
    if "coco_semantic" in names:
        c.validation.coco_semantic.task = "semantic"
        if "coco" in c.validation:
            c.validation.coco_semantic.root = c.validation.coco.get_oneway_ref("root")
    if "context59" in names and "context459" in names:
        c.validation.context459.root = c.validation.context59.get_oneway_ref("root")


def shrink(c):
    """The same parts at the smallest size that still has them all."""
    c.update(image_size=64, batch_size=2, steps=8, max_targets=6, loss_points=48)
    c.model.pixel_decoder.width = 16
    c.model.mask_decoder.update(queries=min(c.model.mask_decoder.queries, 8), width=16, layers=3, heads=2, ffn=16)
    c.optim.warmup_steps = min(c.optim.warmup_steps, 2)
    c.log.update(every=2, checkpoint_every=4)
    c.eval.batch_size = 2
    c.pretrained.backbone = "random"
