"""DaTaSeg with a ViTDet-B, co-trained on COCO panoptic, ADE20K semantic and Objects365 boxes (paper 4, Table 1).

    python -m experiments.main --config=configs/vitdet_b.py --workdir=runs/vitdet_b --config.datasets.coco.root=COCO \\
        --config.datasets.ade.root=ADEChallengeData2016 --config.datasets.objects365.root=OBJECTS365 \\
        --config.pretrained.backbone=facebook/vit-mae-base --config.text_space=clip-vit-large-patch14

The last line gives the paper's MAE weights and CLIP-L/14 text; without it, a run has random weights and the
bundled embeddings. Arguments, as in `configs/vitdet_b.py:queries=50`, are described in `configs/paper.py`.
The paper reports 51.4 mIoU on ADE, 52.8 PQ on COCO, 32.9 PQ on ADE panoptic and 16.1 mask AP on Objects365;
this config has not been trained yet.
"""

from configs import paper


def get_config(arguments: str = ""):
    """`arguments`: see `configs/paper.py`."""
    c, options = paper.get_config(arguments)
    # Paper 4: ViTDet [39] with MAE weights, its simple feature pyramid. Sizes are ViTDet's.
    c.model.backbone = dict(
        name="vitdet", width=768, depth=12, heads=12, window=14, global_blocks=(2, 5, 8, 11),
        patch=16, pretrain_grid=14, mlp_ratio=4, drop_path=0.1, remat=True, scan=True,
        remat_keeps="inputs",
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="simple_pyramid", width=256)
    c.optim.update(backbone_multiplier=1.0, layer_decay=0.7)  # Paper 4: layer-wise decay; the factor is ViTDet's.

    # ours: ViTDet's for COCO; clip is MaskFormer's.
    c.batch_size = 64
    c.steps = 184_375
    c.optim.update(
        learning_rate=1e-4,
        weight_decay=0.1,
        schedule="step",
        milestones=(163_889 / 184_375, 177_546 / 184_375),
        warmup_steps=250,
        warmup_start=0.001,
        clip=0.01,
    )
    c.log.checkpoint_every = 2500  # ours
    c.eval.every = 20_000  # ours

    if "tiny" in options:
        paper.shrink(c)
        # A grid of 4 x 4 in windows of 3: padded, and positions are resized.
        c.model.backbone.update(width=32, depth=4, heads=2, window=3, global_blocks=(1, 3), pretrain_grid=3)
    return c
