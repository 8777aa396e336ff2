"""The inference tasks: how proposals become an answer. `Predictor`, export and evaluation read this one table."""

import dataclasses
from collections.abc import Callable
from typing import Any

from dataseg_jax.inference.tasks import detection, foreground, instance, panoptic, referring, semantic
from dataseg_jax.results.segmentation import Segmentation
from dataseg_jax.results.thresholds import Thresholds


@dataclasses.dataclass(frozen=True)
class InferenceTask:
    """One task's steps.

    Attributes:
      merge: (class_logits, mask_logits, mergeable, things, score threshold) -> a struct of a batch, with `masks`.
      tile: (that struct of one image, rows, columns) -> a map of the tile, and sums over its pixels; jitted. None: the
        answer has no pixels.
      assemble: (image, the struct without its masks, tiles, vocabulary, thresholds) -> `Segmentation`; on the host.
      finish: (struct, *outputs of `tile`, thresholds) -> a dict of arrays; for an image that is one tile, jitted.
      kind: the kind of training task (`objective.tasks.KINDS`) whose mergeable categories it has.
      packed: (*outputs of `tile`) -> what is transferred to the host; jitted.
      thresholds: the defaults; None: the checkpoint's.
      vocabulary: the words where none are given; None: they must be given.
      has_boxes: the struct of `merge` has a field for the boxes of a model that has them.
      of_boxes: only models whose queries have boxes answer it.
    """

    merge: Callable[..., Any]
    tile: Callable[..., tuple] | None
    assemble: Callable[..., Segmentation]
    finish: Callable[..., dict]
    kind: str
    packed: Callable[..., tuple] = lambda *arrays: arrays
    thresholds: Thresholds | None = None
    has_boxes: bool = False
    of_boxes: bool = False
    vocabulary: str | None = None


ALL = Thresholds(0.0, 0.0)  # Average precision needs all instances.

TASKS = {
    "panoptic": InferenceTask(panoptic.merge, panoptic.tile, panoptic.assemble, panoptic.finish, "panoptic"),
    "semantic": InferenceTask(semantic.merge, semantic.tile, semantic.assemble, semantic.finish, "semantic"),
    "instance": InferenceTask(
        instance.merge,
        instance.tile,
        instance.assemble,
        instance.finish,
        "instance",
        packed=instance.packed,
        thresholds=ALL,
        has_boxes=True,
    ),
    "detection": InferenceTask(
        instance.merge,
        None,
        detection.assemble,
        detection.finish,
        "instance",
        thresholds=ALL,
        has_boxes=True,
        of_boxes=True,
    ),
    "foreground": InferenceTask(
        semantic.merge,
        foreground.tile,
        foreground.assemble,
        foreground.finish,
        "foreground",
        vocabulary="foreground",
    ),
    "referring": InferenceTask(
        referring.merge,
        instance.tile,
        referring.assemble,
        referring.finish,
        "referring",
        packed=instance.packed,
        thresholds=referring.LIKELY,
        has_boxes=True,
    ),
}
