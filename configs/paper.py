"""What the paper's three models share: COCO panoptic, ADE20K semantic and Objects365 boxes (paper 4), in one place.

Not run by itself. Arguments of `configs/r50.py`, `vitdet_b.py` and `vitdet_l.py`, joined by commas: `tiny` (the same
structure at a size for tests), `queries=50` (Table 4: 50, 100, 150), `datasets=coco+ade` (Table 2: any of coco, ade,
objects365) and `dataset_specific` (Table 5), as in `configs/r50.py:queries=50,datasets=coco+ade`.
"""

from configs import base

# Name -> what it is, where the training and where the validation part lies below the root: as the files are published,
# or, after the bar, in the plain names of the formats.
DATASETS = {
    "coco": (
        dict(task="panoptic", format="coco_panoptic", vocabulary="coco_panoptic"),
        dict(images="train2017|images", masks="annotations/panoptic_train2017|panoptic",
             annotations="annotations/panoptic_train2017.json|panoptic.json"),
        dict(images="val2017", masks="annotations/panoptic_val2017", annotations="annotations/panoptic_val2017.json"),
    ),
    "ade": (
        dict(task="semantic", format="label_png", vocabulary="ade20k"),
        dict(images="images/training|images", masks="annotations/training|annotations|labels",
             colour_jitter=1.0),  # ours: MaskFormer's on ADE20K.
        dict(images="images/validation", masks="annotations/validation"),
    ),
    "objects365": (
        dict(task="boxes", format="coco_boxes", vocabulary="objects365"),
        dict(images="train|images", annotations="annotations/zhiyuan_objv2_train.json|boxes.json"),
        # The paper's 1,000 pictures with masks.
        dict(images="val", annotations="annotations/o365_instance_seg_val.json",
             truth="annotations/o365_instance_seg_val.json"),
    ),
}  # fmt: skip
# Scored by ADE's pictures and names, never trained on as panoptic (Table 1); files as Mask2Former's script writes them.
ADE_PANOPTIC = dict(task="panoptic", format="coco_panoptic", vocabulary="ade20k_panoptic", images="images/validation",
                    masks="ade20k_panoptic_val", annotations="ade20k_panoptic_val.json")  # fmt: skip
RATIOS = dict(coco=4.0, ade=1.0, objects365=2.0)  # ours, untried at this size; the paper's are not public.
ARGUMENTS = ("tiny", "queries", "datasets", "dataset_specific")


def get_config(arguments: str):
    """(config without a backbone and a schedule, the arguments); ValueError for an argument that does not exist."""
    options = dict(pair.partition("=")[::2] for pair in arguments.split(",") if pair)
    names = options.get("datasets", "+".join(RATIOS)).split("+")
    unknown = [name for name in options if name not in ARGUMENTS] + [name for name in names if name not in DATASETS]
    if unknown or not options.get("queries", "1").isdecimal():
        raise ValueError(
            f"argument {arguments!r}: it is made of tiny, queries=N, datasets={'+'.join(DATASETS)} (any of them) and "
            "dataset_specific, joined by commas"
        )
    c = base.get_config()
    c.image_size = 1024  # ours: Mask2Former's and ViTDet's on COCO, as is the jitter of 0.1 to 2.0.
    c.loss_points = 12_544  # ours: Mask2Former's.
    c.model.dtype = "bfloat16"  # ours
    c.model.mask_decoder.queries = int(options.get("queries", 100))  # Paper 4.
    c.model.dataset_specific = "dataset_specific" in options
    for name in names:
        what, train, val = DATASETS[name]
        c.datasets[name] = base.dataset(ratio=RATIOS[name], min_scale=0.1, max_scale=2.0, **what, **train)
        c.validation[name] = base.dataset(**what, **val)
        c.validation[name].root = c.datasets[name].get_oneway_ref("root")
    if "ade" in names:
        c.validation.ade_panoptic = base.dataset(**ADE_PANOPTIC)
        c.validation.ade_panoptic.root = c.datasets.ade.get_oneway_ref("root")
    return c, options


def shrink(c):
    """The same parts at the smallest size that still has them all."""
    c.update(image_size=64, batch_size=2, steps=8, slots=6, loss_points=48)
    c.model.pixel_decoder.width = 16
    c.model.mask_decoder.update(queries=min(c.model.mask_decoder.queries, 8), width=16, layers=3, heads=2, ffn=16)
    c.optim.warmup_steps = min(c.optim.warmup_steps, 2)
    c.log.update(every=2, checkpoint_every=4)
    c.eval.batch_size = 2
