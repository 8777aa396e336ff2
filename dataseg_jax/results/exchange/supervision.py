"""Answers as `supervision.Detections`. The package is an extra, and is imported when one is asked for."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from dataseg_jax.io.packages import require
from dataseg_jax.results.rle import Masks
from dataseg_jax.text import Vocabulary


def of_segmentation(result):
    """See `Segmentation.to_supervision`."""
    segments, names = result.segments, result.vocabulary.names
    scores = None if result.task == "semantic" else [segment.score for segment in segments]
    labels = [segment.category for segment in segments]
    data = {
        "class_name": np.array([names[label] for label in labels], str),
        "is_thing": np.array([segment.is_thing for segment in segments], bool),
    }
    if result.task == "detection":
        boxes = np.array([segment.box for segment in segments], np.float32).reshape(-1, 4)
        return _detections(boxes, None, scores, labels, data)
    masks = _dense([result.mask(segment) for segment in segments], result.ids.shape)
    return _detections(boxes_of(masks), masks, scores, labels, data)


def of_masks(masks: np.ndarray, scores: Sequence[float], labels: Sequence[int], vocabulary: Vocabulary | None = None):
    """Masks of prompts as Detections.

    Args:
      masks: bool[n, H, W].
      scores: n, the confidence.
      labels: n, the class_id.
      vocabulary: gives class_name; None: there is none.

    Raises:
      InputError: supervision is not installed.
    """
    data = {} if vocabulary is None else {"class_name": np.array([vocabulary.names[label] for label in labels], str)}
    return _detections(boxes_of(masks), masks, scores, labels, data)


def of_frame(objects: Mapping[Hashable, np.ndarray | dict]):
    """The objects of one frame of a video as Detections with `tracker_id`; those without a pixel are left out.

    for frame, objects in session.propagate():
        detections = of_frame(objects)

    Args:
      objects: name -> bool[H, W] or run lengths. A name that is a whole number is the tracker_id; else it is the place
        of the name, from 0. data["object"] holds the names as text.

    Raises:
      InputError: supervision is not installed.
    """
    numbered = all(type(name) is int for name in objects)
    shown = [
        (name if numbered else place, name, mask)
        for place, (name, code) in enumerate(objects.items())
        if (mask := Masks((code,))[0] if isinstance(code, dict) else np.asarray(code, bool)).any()
    ]
    masks = _dense([mask for _, _, mask in shown], (0, 0))
    data = {"object": np.array([str(name) for _, name, _ in shown], str)}
    return _detections(boxes_of(masks), masks, None, [0] * len(shown), data, [number for number, _, _ in shown])


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """float32[n, 4] around masks bool[n, H, W]: x0 y0 x1 y1, the right and lower edges exclusive; 0 if empty."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(columns):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


def _dense(masks: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    return np.stack(masks) if masks else np.zeros((0, *size), bool)


def _detections(boxes, masks, scores, labels, data, trackers=None):
    require("to_supervision()", "supervision", "supervision")
    import supervision

    return supervision.Detections(
        xyxy=boxes,
        mask=masks,
        confidence=None if scores is None else np.asarray(scores, np.float32),
        class_id=np.asarray(labels, int),
        tracker_id=None if trackers is None else np.asarray(trackers, int),
        data=data,
    )
