"""Points and crops against loops, and what the paper says of SA-1B's."""

import numpy as np
import pytest

from dataseg_jax.inference.promptable.automatic import SA_1B, Settings
from dataseg_jax.inference.promptable.automatic.grid import crop_boxes, layer_grids, point_grid
from tests.dataseg_jax.inference.promptable.automatic import oracle


@pytest.mark.parametrize("side", [1, 2, 7, 32])
def test_points_are_the_centres_of_cells(side):
    assert point_grid(side) == pytest.approx(np.array(oracle.grid(side)), abs=1e-12)


@pytest.mark.parametrize("size", [(1500, 2250), (480, 640), (333, 77), (64, 64)])
@pytest.mark.parametrize("ratio", [0, 512 / 1500, 0.9])
def test_crops_are_those_of_the_loops_and_cover_the_image(size, ratio):
    found = crop_boxes(size, 3, ratio)
    assert found == oracle.crops(*size, 3, ratio)
    for layer in range(4):
        covered = np.zeros(size, bool)
        for (x0, y0, x1, y1), at in found:
            if at == layer:
                covered[y0:y1, x0:x1] = True
        assert covered.all()


def test_sa_1b_asks_a_grid_of_32_and_coarser_ones_in_2_x_2_and_4_x_4_crops():
    settings = Settings(**SA_1B)
    assert [len(points) for points in settings.grids] == [32**2, 16**2, 8**2]
    layers = [layer for _, layer in crop_boxes((1500, 2000), settings.crop_n_layers, settings.crop_overlap_ratio)]
    assert layers == [0] + [1] * 4 + [2] * 16
    boxes = [box for box, layer in crop_boxes((1500, 2000), 1, settings.crop_overlap_ratio) if layer]
    assert boxes[0][2] - boxes[2][0] == boxes[0][3] - boxes[1][1] == 512  # Neighbours share 512 pixels.


def test_grids_of_layers_round_down():
    assert [len(points) for points in layer_grids(7, 2, 2)] == [49, 9, 1]
