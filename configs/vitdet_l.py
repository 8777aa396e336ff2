"""DaTaSeg with a ViTDet-L, co-trained on COCO panoptic, ADE20K semantic and Objects365 boxes (paper 4, Table 1).

    python -m experiments.main --config=configs/vitdet_l.py --workdir=runs/vitdet_l --config.datasets.coco.root=COCO \\
        --config.datasets.ade.root=ADEChallengeData2016 --config.datasets.objects365.root=OBJECTS365 \\
        --config.pretrained.backbone=facebook/vit-mae-large --config.text_space=clip-vit-large-patch14

The last line gives the paper's MAE weights and CLIP-L/14 text; without it, a run has random weights and the
bundled embeddings. Arguments, as in `configs/vitdet_l.py:queries=50`, are described in `configs/paper.py`.
The paper reports 54.0 mIoU on ADE, 53.5 PQ on COCO, 33.4 PQ on ADE panoptic and 16.4 mask AP on Objects365;
this config has not been trained yet.
"""

from configs import vitdet_b


def get_config(arguments: str = ""):
    """`arguments`: see `configs/paper.py`."""
    c = vitdet_b.get_config(arguments)
    c.optim.layer_decay = 0.8  # ours: ViTDet's, as the drop path.
    c.model.backbone.drop_path = 0.4
    if "tiny" not in arguments.split(","):
        c.model.backbone.update(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
    return c
