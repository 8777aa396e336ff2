"""Things with a part: a core of another colour inside each, so that a click on it may mean the core or the whole."""

import numpy as np

CORE = "core"  # The class of all parts.
RADIUS = (0.45, 0.65)  # Of the core over that of its thing.
SHIFT = 0.15  # The most that its centre lies beside the thing's, as a share of the thing's radius, along each axis.


def core_outline(outline: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Corners of the core of a thing with this outline, float[n, 2]: the same shape, smaller and a little aside."""
    centre = outline.mean(0)
    radius = np.linalg.norm(outline - centre, axis=1).max()
    return centre + rng.uniform(*RADIUS) * (outline - centre) + rng.uniform(-SHIFT, SHIFT, 2) * radius
