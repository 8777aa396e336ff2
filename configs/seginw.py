"""Segmentation in the Wild: the 25 validation sets of SeginW, to score a run on that was trained on other data.

    python -m experiments.evaluation --config=configs/seginw.py:SEGINW --workdir=runs/mqformer_r50

SEGINW is the folder that `seginw.zip` of X-Decoder unpacks to: below it SET/valid, images beside their JSON. Prints the
mask AP of each set, their mean and their median. Names that are not among the bundled words need the encoder of the
run's text space, --config.text_encoder=NAME. Not for training; names are the official ones, misspelt or not.
"""

import os

from ml_collections import ConfigDict

from configs import base

ANNOTATIONS = "_annotations_min1cat.coco.json"
SETS = (
    "Airplane-Parts", "Bottles", "Brain-Tumor", "Chicken", "Cows", "Electric-Shaver", "Elephants", "Fruits", "Garbage",
    "Ginger-Garlic", "Hand-Metal", "Hand", "House-Parts", "HouseHold-Items", "Nutterfly-Squireel", "Phones", "Poles",
    "Puppies", "Rail", "Salmon-Fillet", "Strawberry", "Tablets", "Toolkits", "Trash", "Watermelon",
)  # fmt: skip


def get_config(root: str = ""):
    """`root`: the folder of the sets."""
    c = base.get_config()
    c.datasets, c.validation = ConfigDict(), ConfigDict()
    c.eval.update(images=0, extremes=4)
    for name in SETS:
        c.validation[name] = base.dataset(
            task="instance", format="coco_instances", root=os.path.join(root, name, "valid"), images=".",
            annotations=ANNOTATIONS,
        )  # fmt: skip
    return c
