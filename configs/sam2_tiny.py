"""SAM 2 with a Hiera-T: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam2_tiny.py

The model of images has the sizes of the published weights, which `PromptPredictor.from_weights("sam2.1_hiera_tiny.pt")`
or `("facebook/sam2.1-hiera-tiny")` reads without a config. It is trained as `configs/sam_b.py`; object scores are not
trained yet, and neither is this config.
"""

from configs import sam_b


def get_config():
    """The model of the original at 1024 x 1024 pixels."""
    c = sam_b.get_config()
    # ours: the released code's sizes and its drop path in fine-tuning.
    c.model.backbone = dict(
        name="hiera", width=96, heads=1, depths=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9),
        position_grid=7, mlp_ratio=4, drop_path=0.1, remat=True,
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="hiera_fpn", width=256)
    c.model.prompt_encoder = dict(width=256, mask_channels=16, pad="points_and_boxes", feedback_limit=32.0)
    c.model.mask_decoder = dict(
        width=256, layers=2, heads=8, ffn=2048, iou_hidden=256, iou_layers=3, iou_sigmoid=True, object_score=True,
        skips=True, dynamic_multimask=True,
    )  # fmt: skip
    c.model.no_memory = True
    c.model.framing = "square"
    return c
