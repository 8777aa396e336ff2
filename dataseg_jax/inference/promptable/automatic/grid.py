"""Where to ask: a regular grid of points for each crop, and the crops of each layer (SAM, section 4 and appendix B)."""

import math
from itertools import product

import numpy as np


def point_grid(per_side: int) -> np.ndarray:
    """float64[per_side ** 2, 2]: x, y of the centres of equal cells, as fractions of an image's sides, row by row."""
    offset = 1 / (2 * per_side)
    side = np.linspace(offset, 1 - offset, per_side)
    return np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)


def layer_grids(per_side: int, layers: int, downscale: int) -> list[np.ndarray]:
    """The grid of the whole image and of each of `layers` layers of crops, each coarser by `downscale`."""
    return [point_grid(points_of_layer(per_side, layer, downscale)) for layer in range(layers + 1)]


def points_of_layer(per_side: int, layer: int, downscale: int) -> int:
    """Points along a side of a crop of a layer, 0 being the whole image."""
    return int(per_side / downscale**layer)


def crop_boxes(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[tuple[tuple[int, int, int, int], int]]:
    """The whole image, and (2 ** i) x (2 ** i) overlapping crops for each layer i from 1 on.

    Args:
      size: height and width of the image in pixels.
      layers: of crops.
      overlap_ratio: what neighbours of layer 1 share, as a fraction of the image's short side; half of it in the next.

    Returns:
      (x0 y0 x1 y1 in pixels, the last two exclusive; layer) of each, column by column in a layer. Crops without a
      pixel, which very small images have, are left out.
    """
    height, width = size
    boxes = [((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / n))
        across, down = (math.ceil((overlap * (n - 1) + side) / n) for side in (width, height))
        for i, j in product(range(n), range(n)):
            x, y = i * (across - overlap), j * (down - overlap)
            box = x, y, min(x + across, width), min(y + down, height)
            if box[0] < box[2] and box[1] < box[3]:
                boxes.append((box, layer))
    return boxes
