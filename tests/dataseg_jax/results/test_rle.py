"""Run lengths of masks against pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco

from dataseg_jax.results import rle


def counts(mask):
    """By a loop over the pixels, column by column."""
    found, last = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != last:
            found.append(0)
            last = pixel
        found[-1] += 1
    return found


@pytest.mark.parametrize("seed", range(40))
def test_runs_of_a_part_are_those_of_the_whole_mask(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 12, 2)
    h, w = rng.integers(1, height + 1), rng.integers(1, width + 1)
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    part = rng.random((h, w)) < rng.choice([0, 0.1, 0.5, 0.9, 1])
    mask = np.zeros((height, width), bool)
    mask[y : y + h, x : x + w] = part
    found = rle.runs(part, (x, y), (height, width))
    assert found == counts(mask)
    assert coco.frPyObjects({"size": list(mask.shape), "counts": found}, *mask.shape) == coco.encode(
        np.asfortranarray(mask, np.uint8)
    )
    assert (rle.unpacked(found, mask.shape) == mask).all()
