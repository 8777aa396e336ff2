"""SAM 2 with a Hiera-L: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam2_large.py

The sizes are those of sam2.1_hiera_large.pt and facebook/sam2.1-hiera-large; see `configs/sam2_tiny.py`, also for
the argument `video`.
"""

from configs import sam2_tiny


def get_config(arguments: str = ""):
    """The model of the original at 1024 x 1024 pixels. `arguments`: "" or video; ValueError for another."""
    c = sam2_tiny.get_config(arguments)
    c.model.backbone.update(width=144, heads=2, depths=(2, 6, 36, 4), windows=(8, 4, 16, 8), global_blocks=(23, 33, 43))
    return c
