"""Masks for boxes that are known: which proposal of the network is the object of which box (MQ-Former 3.4).

The paper has SAM make the masks of detection datasets; here it is the model itself, whose proposals compete for the
boxes of an image one to one, so that two objects never get one mask.
"""

import dataclasses
import math
from collections.abc import Iterator

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from dataseg_jax.io.wire_format import STRIDE

# ours: the lowest IoU of a box with that of its mask. Between a loose fit and Mask R-CNN's threshold of a positive box.
MIN_IOU = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class BoxMask:
    """The mask of one box.

    Attributes:
      mask: bool[H, W], without a pixel outside of the box.
      iou: of the box with the proposal's own, before it was cut.
      probability: of the box's category, by the network.
    """

    mask: np.ndarray
    iou: float
    probability: float


def box_masks(
    class_logits: np.ndarray,
    mask_logits: np.ndarray,
    fitted: tuple[int, int],
    size: tuple[int, int],
    boxes: np.ndarray,
    labels: np.ndarray,
    min_iou: float = MIN_IOU,
) -> Iterator[BoxMask | None]:
    """The mask of each box of an image; None where no proposal is left that fits it.

    Args:
      class_logits: float[N, K+1], background last.
      mask_logits: float[N, h, w], on the grid of the model's square.
      fitted: height and width of the image inside that square, in pixels.
      size: height and width of the image.
      boxes: float[T, 4], corners in pixels of the image.
      labels: int[T], categories of the boxes.
      min_iou: proposals whose box has a lower IoU with a box are no candidates for it.
    """
    p = probabilities(class_logits)
    chosen, iou = choose(p, mask_boxes(mask_logits, fitted, size), boxes, labels, min_iou)
    for box, label, proposal, overlap in zip(boxes, labels, chosen, iou, strict=True):
        # One at a time: dense masks of a hundred objects of a photograph are gigabytes.
        mask = cut(image_mask(mask_logits[proposal], fitted, size), box) if proposal >= 0 else None
        found = mask is not None and mask.any()
        yield BoxMask(mask, float(overlap), float(p[proposal, label])) if found else None


def probabilities(class_logits: np.ndarray) -> np.ndarray:
    """float[N, K+1] -> [N, K]: the softmax over categories and background, without background."""
    powers = np.exp(class_logits - class_logits.max(-1, keepdims=True))
    return (powers / powers.sum(-1, keepdims=True))[:, :-1]


def choose(
    p: np.ndarray, proposals: np.ndarray, boxes: np.ndarray, labels: np.ndarray, min_iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Assigns proposals to boxes, one to one, with the largest sum of probability x IoU.

    Args:
      p: float[N, K] of the categories.
      proposals: float[N, 4], corners.
      boxes: float[T, 4], corners.
      labels: int[T].
      min_iou: below it a pair is none.

    Returns:
      int[T], the proposal of each box, -1 without one, and float[T], its IoU, 0 without one.
    """
    iou = pairwise_iou(boxes, proposals)
    gain = np.where(iou >= min_iou, iou * p[:, labels].T, 0)
    chosen, overlap = np.full(len(boxes), -1), np.zeros(len(boxes))
    for box, proposal in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
        if gain[box, proposal] > 0:
            chosen[box], overlap[box] = proposal, iou[box, proposal]
    return chosen, overlap


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float[A, 4], float[B, 4], corners -> float[A, B]; 0 for boxes of no area."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]
    union = areas[0][:, None] + areas[1] - common
    return np.divide(common, union, out=np.zeros_like(union, float), where=union > 0)


def mask_boxes(mask_logits: np.ndarray, fitted: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Corners float[N, 4] around the mask of each proposal, in pixels of the image; zeros for an empty mask."""
    boxes = np.zeros((len(mask_logits), 4))
    for box, logits in zip(boxes, mask_logits, strict=True):
        mask = image_mask(logits, fitted, size)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def image_mask(logits: np.ndarray, fitted: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """One proposal's mask at the image's own resolution, as the instance task has it: bool[H, W], logit >= 0.

    Bilinear, half-pixel centres; cells in the padding were never supervised and are not looked at.
    """
    cells = [-(-side // STRIDE) for side in fitted]
    logits = np.asarray(logits[: cells[0], : cells[1]], np.float32)
    if logits.max() < 0:
        return np.zeros(size, bool)
    down, across = (STRIDE * pixels / side for pixels, side in zip(size, fitted, strict=True))
    resized = cv2.resize(logits, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
    return resized[: size[0], : size[1]] >= 0


def cut(mask: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The mask without its pixels that lie wholly outside of a box (corners in pixels)."""
    x0, y0, x1, y1 = box
    part = slice(max(math.floor(y0), 0), math.ceil(y1)), slice(max(math.floor(x0), 0), math.ceil(x1))
    kept = np.zeros_like(mask)
    kept[part] = mask[part]
    return kept
