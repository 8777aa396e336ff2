"""Co-trains one small model on real images in three layouts, each with its own vocabulary, from scratch.

    python -m experiments.main --config=configs/real.py --workdir=runs/real \\
        --config.datasets.coco.root=COCO_PANOPTIC --config.datasets.boxes.root=COCO_BOXES \\
        --config.datasets.camvid.root=CAMVID

COCO_PANOPTIC holds images/, panoptic/ and panoptic.json; COCO_BOXES images/ and boxes.json; CAMVID images/ and labels/.
Official layouts differ in names only: --config.datasets.coco.images=train2017
--config.datasets.coco.masks=annotations/panoptic_train2017
--config.datasets.coco.annotations=annotations/panoptic_train2017.json.

    python -m experiments.main --config=configs/real.py:memorise --workdir=runs/memorise \\
        --config.datasets.coco.root=COCO_PANOPTIC

`memorise` overfits the first 8 COCO images and scores them (train = test): a check that the dataset is read correctly.
No value is from the paper; all are for a CPU: 2 million parameters and 160 or 256 pixels.
"""

from configs import base


def get_config(what: str = "cotrain"):
    """`what`: cotrain or memorise."""
    c = base.get_config()
    c.image_size = 160
    c.max_targets = 50
    c.batch_size = 4
    c.steps = 1600
    c.merge_warmup_steps = 150  # CamVid alone, 500 steps: one seed of two had all proposals be of one class without.
    c.model.fill = (124, 116, 104)
    c.model.backbone = dict(
        name="resnet", stage_sizes=(1, 1, 1, 1), width=32, bottleneck=False, norm="group", stem="deep"
    )
    c.model.pixel_decoder = dict(name="transformer_fpn", width=64, layers=1, heads=4, ffn=256)
    c.model.mask_decoder.update(queries=50, width=64, layers=3, heads=4, ffn=256, memory_levels=3)
    c.weights.update(ce=2.0, focal=5.0, dice=5.0, proj=2.0)
    c.optim.update(learning_rate=1e-3, backbone_multiplier=1.0, warmup_steps=50, clip=1.0)
    c.log.update(every=20, checkpoint_every=200)
    c.eval.update(batch_size=4, write_predictions=True)

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
    c.datasets.coco = base.dataset(ratio=2.0, **coco)
    c.datasets.boxes = base.dataset(task="boxes", format="coco_boxes", vocabulary="coco_instances")
    c.datasets.camvid = base.dataset(**camvid)
    # Images of the training sets, for a look; to score on others: --config.validation.coco.root=DIR
    c.validation.coco = base.dataset(limit=8, **coco)
    c.validation.camvid = base.dataset(limit=8, **camvid)
    for name in c.validation:
        _same_images(c.validation[name], c.datasets[name])
    return c


def _same_images(validation, training, *more):
    """The validation set takes the fields of the training set, until they are set for itself."""
    for key in ("format", "root", "images", "annotations", "masks", "split", *more):
        validation[key] = training.get_oneway_ref(key)
