"""SAM 2 with a Hiera-B+: masks from points, boxes and masks.

    python -m experiments.parameters --config=configs/sam2_base_plus.py

The sizes are those of sam2.1_hiera_base_plus.pt and facebook/sam2.1-hiera-base-plus; see `configs/sam2_tiny.py`, also
for the argument `video`.
"""

from configs import sam2_tiny


def get_config(arguments: str = ""):
    """The model of the original at 1024 x 1024 pixels. `arguments`: "" or video; ValueError for another."""
    c = sam2_tiny.get_config(arguments)
    c.model.backbone.update(width=112, heads=2, depths=(2, 3, 16, 3), global_blocks=(12, 16, 20), position_grid=14)
    return c
