"""SAM with a ViT-B: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam_b.py

The model has the sizes of the published weights, which `PromptPredictor.from_weights("sam_vit_b_01ec64.pth")` or
`("facebook/sam-vit-base")` reads without a config. This config has no datasets and is not for training yet.
"""

from configs import base


def get_config():
    """The model of the original at 1024 x 1024 pixels."""
    c = base.get_config()
    c.image_size = 1024
    # ours: the released code's sizes, for the paper's appendix is not at hand; drop path is ViTDet-L's. Positions have
    # the grid of these images.
    c.model.backbone = dict(
        name="vitdet", width=768, depth=12, heads=12, window=14, global_blocks=(2, 5, 8, 11),
        patch=16, pretrain_grid=64, mlp_ratio=4, drop_path=0.4, remat=True, scan=True,
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="sam_neck", width=256)
    c.model.prompt_encoder = dict(width=256, mask_channels=16)
    c.model.mask_decoder = dict(width=256, layers=2, heads=8, ffn=2048, iou_hidden=256, iou_layers=3)
    c.model.classifier = dict()
    return c
