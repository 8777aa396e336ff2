"""Images beside their prediction and ground truth, for sheets and for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data.example import Example
from dataseg_jax.metrics import rle
from dataseg_jax.results import palette, visualise
from dataseg_jax.results.rle import Masks
from dataseg_jax.results.segmentation import Segmentation
from experiments.evaluation.instance_quality import CERTAIN
from experiments.evaluation.report.contents import ShownImage
from experiments.evaluation.report.page import shrunk

CAPTIONS = ("image", "prediction", "ground truth")


def overlay_row(example: Example, prediction: Segmentation, truth: Mapping) -> tuple[np.ndarray, ...]:
    """Image, prediction and ground truth of one example, each uint8[H, W, 3].

    Args:
      example: as the dataset gives it.
      prediction: for its image.
      truth: of `PanopticScorer.truth`.
    """
    spoken = prediction.vocabulary.spoken
    colours = palette.palette(spoken)
    names = [spoken[int(k)] for k in truth["labels"]]
    if "segments" in truth:
        labels = {i + 1: name for i, name in enumerate(names)}
        drawn = visualise.overlay(example.image, truth["segments"], labels, colours=colours)
    else:
        size = example.image.shape[:2]
        masks = Masks(tuple(rle.encode(found["mask"], size) for found in truth["objects"]))
        drawn = visualise.instance_overlay(example.image, masks, names, colours=colours)
    return example.image, prediction.overlay(), drawn


def sheet(rows: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Rows of `overlay_row` as one image."""
    return visualise.grid(rows, CAPTIONS)


def shown_image(example: Example, prediction: Segmentation, truth: Mapping, score: float, root: str) -> ShownImage:
    """One image of the report, called by its path below `root`, the dataset's folder."""
    # Shrunk at once: hosts send each other what they keep.
    columns = zip(CAPTIONS, map(shrunk, overlay_row(example, prediction, truth)), strict=True)
    visible = [s for s in prediction.segments if s.score is None or prediction.task != "instance" or s.score >= CERTAIN]
    note = "" if visible else f"Nothing is shown: {prediction.proposal_counts}"
    return ShownImage(_below(root, example.file), score, tuple(columns), note)


def _below(root: str, file: str) -> str:
    """Of a file elsewhere its name alone; a packed dataset names its files by relative paths."""
    path = Path(file)
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.name if path.is_absolute() else path.as_posix()
