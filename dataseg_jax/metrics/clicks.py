"""Masks from clicks: where a user would click next, and how good masks get click by click (RITM; SAM, section 7)."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from dataseg_jax.errors import InputError

AT = (1, 3, 5)  # Clicks after which the mean IoU is reported.
TARGET, MOST = 0.9, 20  # NoC@.9: clicks until an IoU of at least .9, and as many where even these are not enough.
# Of the masks of some objects after a click: points [P, n, 2] and labels [P, n] of all clicks so far, and which objects
# these P are, int[P] -> bool[P, H, W].
Predict = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def next_click(truth: np.ndarray, prediction: np.ndarray | None = None) -> tuple[int, int, int] | None:
    """The pixel of the largest error that is farthest from the error's edge, by the L2 distance transform.

    Missed pixels and wrongly covered ones are errors apart, and the edge of the image is an edge of both. The farther
    pixel of the two is clicked; a positive click needs to be farther than a negative one. Of equal pixels of one kind
    the first is clicked, row by row. A pixel may be clicked again, as in SAM 2's code; RITM's avoids it.

    Args:
      truth: bool[H, W].
      prediction: bool[H, W]; None before the first click, which goes to the centre of the object.

    Returns:
      x, y and label: 1 in the object, which the mask should cover; 0 outside of it. None where nothing is wrong.

    Raises:
      InputError: the masks are not bool of one size.
    """
    truth, prediction = _pair(truth, prediction)
    missed, covered = _depth(truth & ~prediction), _depth(prediction & ~truth)
    positive = missed.max() > covered.max()
    depth = missed if positive else covered
    if not depth.any():
        return None
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return int(x), int(y), int(positive)


def click_ious(truths: np.ndarray, predict: Predict, most: int = MOST, target: float = TARGET) -> list[list[float]]:
    """Simulates clicks on all objects of an image at once, and measures the mask after each.

    Every object gets max(AT) clicks, and then more until its IoU reaches `target` or it has `most`. An object whose
    mask is perfect gets no more clicks.

    Args:
      truths: bool[P, H, W], a mask of at least one pixel each.
      predict: see `Predict`; it keeps what it feeds back, such as the logits of the last masks, by object.
      most: clicks on an object.
      target: an IoU.

    Returns:
      The IoUs after each click on each object.

    Raises:
      InputError: an empty object, masks that are not bool of one size.
    """
    ious: list[list[float]] = [[] for _ in truths]
    clicks: list[list[tuple[int, int, int]]] = [[] for _ in truths]
    masks: list[np.ndarray | None] = [None] * len(truths)
    going = range(len(truths))
    for n in range(most):
        if n >= max(AT):
            going = [i for i in going if ious[i][-1] < target]
        nexts = {i: next_click(truths[i], masks[i]) for i in going}
        going = [i for i in going if nexts[i] is not None]
        if not n and len(going) < len(truths):
            empty = next(i for i, click in nexts.items() if click is None)
            raise InputError(f"object {empty} has no pixel; only objects that are there can be clicked on")
        if not going:
            break
        for i in going:
            clicks[i].append(nexts[i])
        every = np.array([clicks[i] for i in going])
        answers = predict(every[..., :2].astype(np.float32), every[..., 2], np.array(going))
        for i, mask in zip(going, answers, strict=True):
            masks[i] = np.asarray(mask)
            ious[i].append(iou(truths[i], masks[i]))
    return ious


class FedBack:
    """A `PromptPredictor`, whose image is set, as `click_ious` asks it: SAM's protocol.

    A first click is ambiguous: of its three masks the one of the highest predicted IoU is the answer. With more clicks
    the single mask is. The logits of an object's last mask are fed back with its next click.
    """

    def __init__(self, predictor):
        """Args:
        predictor: `predict(points=, labels=, masks=float[P, h, w] or None, multimask=) -> masks, iou, low_res`.
        """
        self._predictor = predictor
        self._last: dict[int, np.ndarray] = {}
        self.predicted: dict[int, list[float]] = {}  # Of each object, the predicted IoU of the answer to each click.

    def __call__(self, points: np.ndarray, labels: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """See `Predict`."""
        first = points.shape[1] == 1
        fed = None if first else np.stack([self._last[i] for i in objects.tolist()])
        answers = self._predictor.predict(points=points, labels=labels, masks=fed, multimask=first)
        masks, predicted, low_res = (np.asarray(answer) for answer in answers)
        best = np.arange(len(objects)), predicted.argmax(1)
        self._last |= zip(objects.tolist(), low_res[best], strict=True)
        for i, value in zip(objects.tolist(), predicted[best].tolist(), strict=True):
            self.predicted.setdefault(i, []).append(value)
        return masks[best]


def iou(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Of two masks bool[H, W]; 1 where both are empty. Raises InputError as `next_click`."""
    truth, prediction = _pair(truth, prediction)
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


class ClickIoU:
    """Means over objects: the IoU after 1, 3 and 5 clicks, and the number of clicks to an IoU of .9 (NoC@.9)."""

    def __init__(self, most: int = MOST, target: float = TARGET):
        """Args:
        most: clicks that an object may get; as many count where the target is not reached. At least 5.
        target: the IoU to reach.

        Raises:
          InputError: `most` is below 5, or `target` not within 0 .. 1.
        """
        if most < max(AT):
            raise InputError(f"most is {most}; it must be at least {max(AT)}, where the last mean is taken")
        if not 0 < target <= 1:
            raise InputError(f"target is {target}; it must be above 0 and at most 1")
        self.most, self.target = most, target
        self._objects, self._clicks, self._failed = 0, 0, 0
        self._ious = (0.0,) * len(AT)

    def update(self, ious: Sequence[float]) -> None:
        """Adds one object.

        Args:
          ious: after each of its clicks, of which there are at most `most`; such as `click_ious` gives them. They may
            end before where the mask is perfect, or where it is at the target and they are five or more.

        Raises:
          InputError: there are too many or too few, or some that are not within 0 .. 1.
        """
        ious = [float(value) for value in ious]
        wrong = [value for value in ious if not 0 <= value <= 1]
        if wrong:
            raise InputError(f"an IoU is {wrong[0]}; it must be within 0 .. 1")
        if not 1 <= len(ious) <= self.most:
            raise InputError(f"an object has {len(ious)} IoUs; it must have 1 to {self.most}, one a click")
        if len(ious) < self.most and ious[-1] < (1 if len(ious) < max(AT) else self.target):
            raise InputError(
                f"an object has {len(ious)} IoUs and the last is {ious[-1]:g}; clicks end at {self.most}, or from "
                f"{max(AT)} on at {self.target:g}, or at a perfect mask"
            )
        reached = [n for n, value in enumerate(ious, 1) if value >= self.target]
        self._objects += 1
        self._clicks += reached[0] if reached else self.most
        self._failed += not reached
        self._ious = tuple(total + ious[min(n, len(ious)) - 1] for total, n in zip(self._ious, AT, strict=True))

    def merge(self, other: "ClickIoU") -> "ClickIoU":
        """The state of both sets of objects together.

        Raises:
          InputError: they count to other numbers of clicks, or to another IoU.
        """
        if (self.most, self.target) != (other.most, other.target):
            raise InputError(
                f"clicks up to {self.most} and to an IoU of {self.target:g} cannot be merged with those up to "
                f"{other.most} and to {other.target:g}"
            )
        merged = ClickIoU(self.most, self.target)
        for name in ("_objects", "_clicks", "_failed"):
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        merged._ious = tuple(a + b for a, b in zip(self._ious, other._ious, strict=True))
        return merged

    def compute(self) -> dict[str, float]:
        """Empty without an object; else miou_1, miou_3 and miou_5, fractions; noc_90 (mean number of clicks to the
        target, whose hundredths are in the name); failed_90 (share of objects that do not reach it); objects."""
        if not self._objects:
            return {}
        percent = f"{100 * self.target:g}"
        return {f"miou_{n}": total / self._objects for n, total in zip(AT, self._ious, strict=True)} | {
            f"noc_{percent}": self._clicks / self._objects,
            f"failed_{percent}": self._failed / self._objects,
            "objects": self._objects,
        }


def _pair(truth: np.ndarray, prediction: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    truth = np.asarray(truth)
    prediction = np.zeros_like(truth) if prediction is None else np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 2 or not truth.size:
        raise InputError(
            f"the truth is {list(truth.shape)} and the prediction {list(prediction.shape)}; both must be one [H, W]"
        )
    for role, mask in (("truth", truth), ("prediction", prediction)):
        if mask.dtype != bool:
            raise InputError(f"the {role} is {mask.dtype}; it must be bool")
    return truth, prediction


def _depth(mask: np.ndarray) -> np.ndarray:
    """float32[H, W]: the distance of each pixel of a mask to the nearest one outside, the image's surroundings too."""
    padded = np.pad(mask, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
