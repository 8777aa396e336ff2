"""SAM with a ViT-L: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam_l.py

The sizes are those of sam_vit_l_0b3195.pth and facebook/sam-vit-large; see `configs/sam_b.py`.
"""

from configs import sam_b


def get_config():
    """The model of the original at 1024 x 1024 pixels."""
    c = sam_b.get_config()
    c.model.backbone.update(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23))
    return c
