"""SAM 2 with a Hiera-T: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam2_tiny.py

The model of images has the sizes of the published weights, which `PromptPredictor.from_weights("sam2.1_hiera_tiny.pt")`
or `("facebook/sam2.1-hiera-tiny")` reads without a config. It is trained as `configs/sam_b.py`. With the argument
`video` the model has its memory and is trained on clips, with the released values of fine-tuning on MOSE:

    python -m experiments.main --config=configs/sam2_tiny.py:video --workdir=runs/sam2 --config.init_from=RUN \\
        --config.datasets.mose.root=MOSE --config.validation.davis.root=DAVIS

Neither has been trained.
"""

from configs import base, sam_b


def get_config(arguments: str = ""):
    """The model of the original at 1024 x 1024 pixels. `arguments`: "" or video; ValueError for another."""
    if arguments not in ("", "video"):
        raise ValueError(f"argument {arguments!r}: it is video")
    c = sam_b.get_config()
    # ours: the released code's sizes and its drop path in fine-tuning.
    c.model.backbone = dict(
        name="hiera", width=96, heads=1, depths=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9),
        position_grid=7, mlp_ratio=4, drop_path=0.1, remat=True, remat_keeps="inputs",
    )  # fmt: skip
    c.model.pixel_decoder = dict(name="hiera_fpn", width=256)
    c.model.prompt_encoder = dict(width=256, mask_channels=16, pad="points_and_boxes", feedback_limit=32.0)
    c.model.mask_decoder = dict(
        width=256, layers=2, heads=8, ffn=2048, iou_hidden=256, iou_layers=3, iou_sigmoid=True, object_score=True,
        skips=True, dynamic_multimask=True,
    )  # fmt: skip
    c.model.no_memory = True
    c.model.framing = "square"
    return _on_videos(c) if arguments else c


def _on_videos(c):
    """The memory of the original, and the training of its tracker."""
    # ours, all: the released code's sizes, and its fine-tuning config; but the learning rate falls to 0, not a tenth.
    c.model.memory = dict(width=256, channels=64, layers=4, ffn=2048, dropout=0.1, blocks=2, hidden=1024)
    c.model.interaction.update(clicks=7, frames=2)
    c.model.dtype = "bfloat16"
    c.weights.update(iou=0.0, iou_l1=1.0, object=1.0)
    c.max_targets, c.batch_size, c.epochs = 3, 8, 40.0
    c.optim.update(
        learning_rate=5e-6, backbone_multiplier=0.6, layer_decay=0.9, weight_decay=0.1, clip=0.1, schedule="cosine",
        warmup_steps=0,
    )  # fmt: skip
    del c.datasets.coco, c.validation.coco
    c.datasets.mose = base.dataset("mose_train", task="video", rotate=25.0, colour_jitter=1.0)
    c.validation.davis = base.dataset("davis_2017_val", task="video")
    return c
