"""DaTaSeg with a ResNet-50, co-trained on COCO panoptic, ADE20K semantic and Objects365 boxes (paper 4, Table 1).

    python -m experiments.main --config=configs/r50.py --workdir=runs/r50 --config.datasets.coco.root=COCO \\
        --config.datasets.ade.root=ADEChallengeData2016 --config.datasets.objects365.root=OBJECTS365 \\
        --config.pretrained.backbone=timm/resnet50.tv_in1k --config.text_space=clip-vit-large-patch14

The last line gives the paper's ImageNet weights (norm frozen) and CLIP-L/14 text; without it, a run has random weights
and the bundled embeddings. Arguments, as in `configs/r50.py:queries=50`, are described in `configs/paper.py`.
The paper reports 48.1 mIoU on ADE, 49.0 PQ on COCO, 29.8 PQ on ADE panoptic and 14.3 mask AP on Objects365;
this config has not been trained yet.
"""

from configs import paper


def get_config(arguments: str = ""):
    """`arguments`: see `configs/paper.py`."""
    c, options = paper.get_config(arguments)
    # Paper 4: ImageNet weights, MaskFormer's pixel decoder; base.py has both at the size of a ResNet-50.
    c.model.backbone.update(stage_sizes=(3, 4, 6, 3), width=64, bottleneck=True, norm="frozen_batch", stem="imagenet")
    c.optim.backbone_multiplier = 0.1  # Paper 4.

    # ours: Mask2Former's for COCO, as the jitter in `configs/paper.py`.
    c.batch_size = 16
    c.steps = 368_750
    c.optim.update(
        learning_rate=1e-4,
        weight_decay=0.05,
        schedule="step",
        milestones=(327_778 / 368_750, 355_092 / 368_750),
        clip=0.01,
    )
    c.log.checkpoint_every = 5000  # ours
    c.eval.every = 25_000  # ours

    if "tiny" in options:
        paper.shrink(c)
        c.model.backbone.update(stage_sizes=(1, 1, 1, 1), width=8)
        c.model.pixel_decoder.update(layers=1, heads=2, ffn=16)
    return c
