"""SAM with a ViT-H: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam_h.py

The sizes are those of sam_vit_h_4b8939.pth and facebook/sam-vit-huge; see `configs/sam_b.py`.
"""

from configs import sam_b


def get_config():
    """The model of the original at 1024 x 1024 pixels."""
    c = sam_b.get_config()
    c.model.backbone.update(width=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31))
    return c
