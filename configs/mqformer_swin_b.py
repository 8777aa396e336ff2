"""MQ-Former with a Swin-B, the backbone of the paper's comparison of query types (supplement C).

    python -m experiments.main --config=configs/mqformer_swin_b.py --workdir=runs/mqformer_swin_b \\
        --config.datasets.coco.root=COCO --config.datasets.ade.root=ADE --config.datasets.objects365.root=OBJECTS365 \\
        --config.pretrained.backbone=microsoft/swin-base-patch4-window12-384-in22k

Arguments are described in `configs/mqformer.py`.
"""

from ml_collections import ConfigDict

from configs import mqformer, r50


def get_config(arguments: str = "mixed"):
    """`arguments`: see `configs/mqformer.py`."""
    c = mqformer.get_config(r50.get_config, arguments)
    swin = dict(name="swin", width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12, drop_path=0.3)
    if "tiny" in arguments.split(","):
        swin.update(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 2, 2), window=4)
    c.model.backbone = ConfigDict(swin)
    return c
