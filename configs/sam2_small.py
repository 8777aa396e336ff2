"""SAM 2 with a Hiera-S: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam2_small.py

The sizes are those of sam2.1_hiera_small.pt and facebook/sam2.1-hiera-small; see `configs/sam2_tiny.py`, also for
the argument `video`.
"""

from configs import sam2_tiny


def get_config(arguments: str = ""):
    """The model of the original at 1024 x 1024 pixels. `arguments`: "" or video; ValueError for another."""
    c = sam2_tiny.get_config(arguments)
    c.model.backbone.update(depths=(1, 2, 11, 2), global_blocks=(7, 10, 13))
    return c
