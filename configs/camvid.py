"""CamVid (11 classes, 480x360) from ImageNet weights: alone, or co-trained with COCO panoptic and COCO boxes.

    python -m experiments.main --config=configs/camvid.py --workdir=runs/camvid \\
        --config.datasets.camvid.root=CAMVID_TRAIN --config.validation.camvid.root=CAMVID_VAL

    python -m experiments.main --config=configs/camvid.py:cotrain --workdir=runs/cotrained \\
        --config.datasets.camvid.root=CAMVID_TRAIN --config.validation.camvid.root=CAMVID_VAL \\
        --config.datasets.coco.root=COCO_PANOPTIC --config.datasets.boxes.root=COCO_BOXES

CAMVID_* hold images/ and labels/. The weights are EfficientNet-Lite0's, of the extra `pretrained`. No value is from the
paper; all are for 2 CPU cores.
"""

from ml_collections import ConfigDict

from configs import base, real


def get_config(what: str = "alone"):
    """`what`: alone or cotrain."""
    if what not in ("alone", "cotrain"):
        raise ValueError(f"argument {what!r}: it is alone or cotrain")
    c = real.get_config()
    c.image_size = 320  # Of training crops; images are scored at their own size, padded to a square.
    c.eval.image_size = 480
    c.steps = 2000
    c.max_targets = 40
    c.merge_warmup_steps = 200
    c.model.mask_decoder.queries = 40
    c.log.update(checkpoint_every=400)
    c.eval.update(every=400, write_predictions=False, score_threshold=0.8)
    datasets, c.datasets, c.validation = c.datasets, ConfigDict(), ConfigDict()
    c.datasets.camvid = datasets.camvid
    # Scale 1.5 is the image's own size: the longer side of 480 pixels over the crop's 320.
    c.datasets.camvid.update(part="", min_scale=0.75, max_scale=3.0, colour_jitter=1.0)
    c.validation.camvid = base.dataset(task="semantic", format="label_png", vocabulary="camvid")
    if what == "cotrain":
        c.datasets.coco, c.datasets.boxes = datasets.coco, datasets.boxes
        c.datasets.coco.part = ""
        c.datasets.camvid.ratio = 2.0
    return c
