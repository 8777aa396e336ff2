"""The answers of one crop: batch by batch the filters, then suppression."""

import dataclasses
from typing import Any, Protocol

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.inference.promptable.automatic.candidates import Candidates, Counts, joined
from dataseg_jax.inference.promptable.automatic.measure import Measured, measure
from dataseg_jax.inference.promptable.automatic.nms import nms
from dataseg_jax.inference.promptable.automatic.settings import Settings
from dataseg_jax.results import rle

EDGE = 20  # Pixels from a crop's edge, up to which a mask counts as cut off by it; the original's.
_TOGETHER = 16  # Masks that are brought to full size at once. ours: 64 MiB of logits at 1024 x 1024.


class PointPredictor(Protocol):
    """What answers points; `PromptPredictor` does.

    A predictor may also have both of these, and then only masks with a high predicted IoU are brought to full size:
      predict_low_res(points, labels, multimask=True) -> low_res float[P, C, h, w], iou float[P, C]
      upscale(low_res[N, h, w]) -> logits float[N, H, W], at least of the image's size, at whose top left they are.
    For `use_m2m` it must have both, and `predict_low_res` take `masks`, which `low_res` of an earlier answer is.
    They may be arrays of numpy or on a device. A pixel is a mask's where its logit is above `mask_threshold`, which is
    0 for a predictor without one.
    """

    def set_image(self, image: np.ndarray) -> Any:
        """uint8[H, W, 3]: the image that is asked about from now on."""

    def predict(self, *, points, labels, multimask: bool, return_logits: bool) -> tuple:
        """points float[P, 1, 2] in its pixels, labels int[P, 1] -> logits [P, C, H, W], iou [P, C], and others."""


def answers(
    predictor: PointPredictor,
    image: np.ndarray,
    crop: tuple[int, int, int, int],
    grid: np.ndarray,
    settings: Settings,
) -> tuple[Candidates, Counts]:
    """The masks of one crop that pass all filters, without duplicates, best predicted IoU first.

    Args:
      predictor: its image is the crop afterwards.
      image: uint8[H, W, 3], the whole.
      crop: x0 y0 x1 y1 in it, the last two exclusive.
      grid: float64[n, 2], points as fractions of the crop's sides.
      settings: the filters.

    Returns:
      The masks, in the image's pixels, and how many were dropped.
    """
    x0, y0, x1, y1 = crop
    predictor.set_image(np.ascontiguousarray(image[y0:y1, x0:x1]))
    points = grid * (x1 - x0, y1 - y0)
    parts, counts = [_none()], Counts()
    for first in range(0, len(points), settings.points_per_batch):
        batch = points[first : first + settings.points_per_batch]
        part, dropped = _batch(predictor, batch, crop, image.shape[:2], settings)
        parts.append(part)
        counts += dropped
    found = joined(parts)
    found, dropped = suppress(found, found.iou, settings.box_nms_thresh, settings.nms_limit)
    moved = dataclasses.replace(found, boxes=found.boxes + (x0, y0, x0, y0), points=found.points + (x0, y0))
    return moved, counts + dropped


def _none() -> Candidates:
    numbers, boxes = np.zeros(0, np.float32), np.zeros((0, 4), np.int64)
    return Candidates(numbers, numbers, np.zeros((0, 2)), boxes, boxes, [])


def _batch(predictor, points, crop, size, settings: Settings) -> tuple[Candidates, Counts]:
    """The candidates that some points give, relative to the crop."""
    iou, logits_of = _ask(predictor, points, settings.use_m2m)
    asked, iou = np.repeat(points, iou.shape[1], 0), iou.reshape(-1)
    # As in the original, a threshold of 0 keeps even what is not a number.
    sure = iou > np.float32(settings.pred_iou_thresh) if settings.pred_iou_thresh > 0 else np.ones(len(iou), bool)
    parts, counts = [_none()], Counts(given=len(iou), unsure=int((~sure).sum()))
    threshold = getattr(predictor, "mask_threshold", 0.0)
    for logits, index, chosen in logits_of(np.flatnonzero(sure)):
        extent = crop[3] - crop[1], crop[2] - crop[0]
        measured = measure(logits, index, extent, threshold, settings.stability_score_offset)
        part, dropped = _passing(measured, iou[chosen], asked[chosen], crop, size, settings)
        parts.append(part)
        counts += dropped
    return joined(parts), counts


def _ask(predictor, points, use_m2m: bool):
    """float32[P, C], the predicted IoUs, and a function that gives the logits of some of the P x C masks, in parts: the
    logits, where in these they are, and which masks they are."""
    prompts = {"points": points[:, None], "labels": np.ones((len(points), 1), np.int32)}
    in_steps = hasattr(predictor, "predict_low_res") and hasattr(predictor, "upscale")
    if use_m2m and not in_steps:
        raise InputError("use_m2m=True: this predictor cannot refine masks, it has no predict_low_res and upscale")
    if in_steps:
        low_res, iou = predictor.predict_low_res(**prompts, multimask=True)[:2]
        low_res = low_res.reshape(-1, *low_res.shape[2:])
        if use_m2m:
            again = {name: np.repeat(x, iou.shape[1], 0) for name, x in prompts.items()}
            low_res, refined = predictor.predict_low_res(**again, masks=low_res, multimask=False)[:2]
            low_res, iou = low_res[:, 0], refined.reshape(iou.shape)

        def logits_of(chosen):
            for first in range(0, len(chosen), _TOGETHER):
                part = chosen[first : first + _TOGETHER]
                padded = np.pad(part, (0, _TOGETHER - len(part)), mode="edge")  # One program for any number of masks.
                yield predictor.upscale(low_res[padded]), np.arange(len(part)), part
    else:
        logits, iou = predictor.predict(**prompts, multimask=True, return_logits=True)[:2]

        def logits_of(chosen):
            if len(chosen):
                yield logits.reshape(-1, *logits.shape[2:]), chosen, chosen

    return np.asarray(iou, np.float32), logits_of


def _passing(measured: Measured, iou, points, crop, size, settings: Settings) -> tuple[Candidates, Counts]:
    """Those of some measured masks that pass the filters."""
    stable, small, whole = _filters(measured, crop, size, settings)
    left = np.flatnonzero(stable & small & whole)
    boxes = measured.box[left].astype(np.int64)
    runs = [
        rle.runs(measured.masks[i, y0 : y1 + 1, x0 : x1 + 1], (crop[0] + x0, crop[1] + y0), size)
        for i, (x0, y0, x1, y1) in zip(left, boxes.tolist(), strict=True)
    ]
    crops = np.tile(np.array(crop, np.int64), (len(left), 1))
    dropped = (~stable, stable & ~small, stable & small & ~whole)
    unstable, large, cut = (int(np.count_nonzero(one)) for one in dropped)
    found = Candidates(iou[left], measured.stability[left], points[left], boxes, crops, runs)
    return found, Counts(unstable=unstable, large=large, cut=cut)


def _filters(measured: Measured, crop, size, settings: Settings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """bool[n] each: stable masks, those that do not cover too much of the image, those not cut off by the crop."""
    n = len(measured.area)
    stable = small = np.ones(n, bool)
    if settings.stability_score_thresh > 0:
        stable = measured.stability >= np.float32(settings.stability_score_thresh)
    if settings.max_area_share is not None:
        small = measured.area < settings.max_area_share * (size[0] * size[1])
    boxes = measured.box + np.array([*crop[:2], *crop[:2]])
    near_crop, near_image = (np.abs(boxes - np.array(box)) <= EDGE for box in (crop, (0, 0, size[1], size[0])))
    return stable, small, ~(near_crop & ~near_image).any(1)


def suppress(found: Candidates, scores: np.ndarray, threshold: float, limit: int) -> tuple[Candidates, Counts]:
    """Without those whose box overlaps one of a higher score too much, by descending score."""
    kept, over_limit = nms(found.boxes, scores, threshold, limit)
    return found.take(kept), Counts(duplicates=len(found) - len(kept) - over_limit, over_limit=over_limit)
