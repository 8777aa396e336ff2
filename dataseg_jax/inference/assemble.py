"""From the proposals of images in the model's square to answers at the images' own sizes, a tile of pixels at a time.

Tiles have one of two sizes, so images of all sizes share two small programs, and memory does not grow with the number
of masks: 12 million pixels and 100 proposals need no more than their answer does.
"""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from dataseg_jax.inference import tiles
from dataseg_jax.inference.tasks import TASKS
from dataseg_jax.io.wire_format import STRIDE
from dataseg_jax.networks.boxes import to_corners
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.results.thresholds import Thresholds
from dataseg_jax.text import Vocabulary

SIDES = 64, 256  # Of a tile: the first where the whole image fits into it.


def assemble(
    images,
    class_logits,
    mask_logits,
    fitted,
    mergeable,
    vocabulary: Vocabulary | Sequence[Vocabulary],
    task: str,
    thresholds: Thresholds,
    boxes=None,
) -> list[Segmentation]:
    """Proposals -> segmentations.

    Args:
      images: uint8[H, W, 3] each; at most as many as the arrays have rows.
      class_logits, mask_logits: float32[B, N, K+1] and [B, N, h, w].
      fitted: height and width of each image inside the model's square, in pixels.
      mergeable: bool[K], the categories that MERGE unites.
      vocabulary: of all images, or one for each, of phrases.
      task: a key of `tasks.TASKS`.
      boxes: float32[B, N, 4], centre and size as fractions of the model's square, of models that have them.
      thresholds: of the instance task, `thresholds.score` drops instances by their score.
    """
    vocabularies = [vocabulary] * len(images) if isinstance(vocabulary, Vocabulary) else vocabulary
    things = thing_categories(vocabularies[0], len(mergeable))
    merged = _merged(class_logits, mask_logits, mergeable, things, np.float32(thresholds.score), task)
    if boxes is not None and TASKS[task].has_boxes:
        corners = np.asarray(to_corners(boxes)) * (STRIDE * np.array([*mask_logits.shape[:-3:-1]] * 2, np.float32))
    # Everything but the masks, in one transfer.
    known = jax.device_get(merged.replace(masks=None))
    results = []
    for i, (image, size, words) in enumerate(zip(images, fitted, vocabularies, strict=True)):
        of_image = jax.tree.map(lambda x, i=i: x[i], known)
        if boxes is not None and TASKS[task].has_boxes:
            scale = np.divide(image.shape[1::-1], size[::-1])  # Pixels of the image by pixels of the square.
            of_image = of_image.replace(boxes=corners[i] * np.tile(scale, 2))
        parts = _tiles_of(merged, i, size, image.shape[:2], task) if TASKS[task].tile else None
        results.append(TASKS[task].assemble(image, of_image, parts, words, thresholds))
    return results


def thing_categories(vocabulary: Vocabulary, k: int) -> np.ndarray:
    """bool[K]: the categories of instances, which are the things; all categories where there is no thing."""
    things = np.zeros(k, bool)
    things[: len(vocabulary)] = vocabulary.is_thing if any(vocabulary.is_thing) else True
    return things


@partial(jax.jit, static_argnames="task")
def _merged(class_logits, mask_logits, mergeable, things, score, task):
    return TASKS[task].merge(class_logits, mask_logits, mergeable, things, score)


@partial(jax.jit, static_argnames=("task", "side"))
def tile_of(merged, image, start, fitted, original, task, side):
    """A tile of an image of a batch: the task's map, and sums over its pixels, packed for the transfer.

    Args:
      merged: of `merge` of the task, a batch; int32[] `image` is the place in it.
      start: int32[2], row and column of the tile's first pixel.
      fitted, original: int32[2], height and width in the model's square, and of the image itself.
      task, side: static: a key of `TASKS`, pixels of a side.
    """
    merged = jax.tree.map(lambda x: x[image], merged)
    rows, columns = (
        # Cells in the padding were never supervised: the image's last cell is repeated in their place.
        tiles.axis(start[i], side, original[i], fitted[i] / (STRIDE * original[i]), -(-fitted[i] // STRIDE))
        for i in (0, 1)
    )
    return TASKS[task].packed(*TASKS[task].tile(merged, rows, columns))


def _tiles_of(merged, image: int, fitted, size: tuple[int, int], task: str) -> tiles.Tiles:
    """All tiles of one image, dispatched at once: the devices compute ahead while the host reads them in order."""
    side = SIDES[max(size) > SIDES[0]]
    starts = [(y, x) for y in range(0, size[0], side) for x in range(0, size[1], side)]
    fitted, original = np.array(fitted, np.int32), np.array(size, np.int32)
    parts = [(*s, tile_of(merged, image, np.array(s, np.int32), fitted, original, task, side)) for s in starts]
    return tiles.Tiles(size, side, parts)
