"""A predictor without a network: the colour of a pixel says what lies there, and so what a point on it is answered."""

import numpy as np

STEP = 3  # Pixels a cell of the low-resolution grid.


def scene(size, things=6, seed=0):
    """uint8[H, W, 3]: a background and ellipses of one colour each, some of which overlap or touch the edges."""
    rng = np.random.default_rng(seed)
    image = np.zeros((*size, 3), np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    for number in range(things):
        cy, cx = rng.integers(0, size[0]), rng.integers(0, size[1])
        ry, rx = rng.integers(3, size[0] // 4 + 4), rng.integers(3, size[1] // 4 + 4)
        image[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = ((40 * number + 10) % 256, number, 255 - number)
    return image


class Fake:
    """Answers a point by the region of its colour, by the box of that region, and by everything of a similar colour.

    Logits fall off in steps, by the number of the region: so stabilities and IoUs differ, and many are equal. Noise on
    the logits, the same for the same crop and region, makes holes and islands.
    """

    def __init__(self, noise=0.0):
        self.noise = noise
        self.asked = []

    def set_image(self, image):
        assert image.dtype == np.uint8
        self.image = image
        self.keys = image[..., 0].astype(np.int64)

    def _one(self, x, y):
        height, width = self.keys.shape
        key = self.keys[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)]
        region = self.keys == key
        rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        boxed = np.zeros_like(region)
        boxed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        similar = abs(self.keys - key) <= 40
        rng = np.random.default_rng([int(key), height, width])
        logits = []
        for mask, strength in ((region, 2 + key % 3), (boxed, 1.5), (similar, 0.5 + key % 2)):
            noise = self.noise * rng.normal(size=mask.shape)
            logits.append(np.where(mask, strength, -strength) + noise)
        if key == 10:
            logits[1][:] = -5.0  # An empty mask, 0 / 0 in its stability.
        iou = 0.8 + 0.02 * ((key // 10 + np.arange(3) * 2) % 10)  # Of ten values: ties are common.
        return np.float32(logits), np.float32(iou)

    def predict(self, points, labels, boxes=None, masks=None, multimask=True, return_logits=False):
        assert points.shape[1:] == (1, 2) and labels.shape == points.shape[:2] and (labels == 1).all() and multimask
        self.asked.append(len(points))
        answers = [self._one(*point[0]) for point in points]
        logits, iou = (np.stack(part) for part in zip(*answers, strict=True))
        return logits if return_logits else logits > 0, iou, logits[..., ::STEP, ::STEP]
