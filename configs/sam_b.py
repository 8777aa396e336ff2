"""SAM with a ViT-B: masks from points, boxes and masks.

    python -m experiments.main --config=configs/sam_b.py --workdir=runs/sam_b --config.datasets.coco.root=COCO \\
        --config.validation.coco.root=COCO --config.pretrained.backbone=facebook/vit-mae-base

The model has the sizes of the published weights, which `PromptPredictor.from_weights("sam_vit_b_01ec64.pth")` or
`("facebook/sam-vit-base")` reads without a config. It is trained on the masks of any datasets, each by a task with
masks: `prompts`, and panoptic, semantic or instance, of which prompts ask for things. This config has not been trained.
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
        remat_keeps="inputs",
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="sam_neck", width=256)
    c.model.prompt_encoder = dict(width=256, mask_channels=16)
    c.model.mask_decoder = dict(width=256, layers=2, heads=8, ffn=2048, iou_hidden=256, iou_layers=3)
    c.model.classifier = dict()
    # ours: rounds, noise, weights and schedule are SAM's at second hand; so are 64 masks an image.
    c.model.interaction = dict(
        prompts=64, clicks=8, refinements=2, box=0.5, box_noise=0.1, most_box_noise=20.0, most_share=0.9,
        multimask=True,
    )  # fmt: skip
    c.model.fill = (124, 116, 104)  # Zero after normalisation, as the original pads.
    c.weights = dict(ce=0.0, focal=20.0, dice=1.0, proj=0.0, iou=1.0, background=0.0)
    c.batch_size, c.steps = 256, 90_000
    c.optim.update(
        learning_rate=8e-4, weight_decay=0.1, backbone_multiplier=1.0, layer_decay=0.8, warmup_steps=250,
        schedule="step", milestones=(60_000 / 90_000, 86_666 / 90_000), clip=0.1,
    )  # fmt: skip
    c.datasets.coco = base.dataset("coco_instances_train", task="prompts", min_scale=0.1, max_scale=2.0)
    c.validation.coco = base.dataset("coco_instances_val", task="prompts", limit=500)
    return c
