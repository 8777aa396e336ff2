"""Position tables resized by us and by torch, in float64: its float32 rounds the coordinates (extra `parity`)."""

import numpy as np
import pytest

from dataseg_jax.io.convert.positions import resize_grid, resize_offsets
from dataseg_jax.networks.backbones.grid_attention import resize_positions

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("sizes", [((14, 14), (24, 24)), ((24, 24), (14, 14)), ((14, 14), (10, 33)), ((3, 5), (5, 3))])
def test_grids(sizes):
    import torch

    before, after = sizes
    grid = np.random.default_rng(0).normal(size=(1, *before, 7)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.tensor(grid.transpose(0, 3, 1, 2)).double(), size=after, mode="bicubic", align_corners=False
    )
    expected = expected.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(resize_grid(grid, *after), expected, atol=2e-6)
    np.testing.assert_allclose(resize_positions(grid[0], *after), expected[0], atol=2e-6)


@pytest.mark.parametrize("lengths", [(27, 127), (127, 27), (27, 27)])
def test_relative_offsets(lengths):
    import torch

    before, after = lengths
    table = np.random.default_rng(1).normal(size=(before, 5)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(table.T[None]).double(), size=after, mode="linear")
    np.testing.assert_allclose(resize_offsets(table, after), expected.numpy()[0].T, atol=2e-6)
