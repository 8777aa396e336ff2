"""Scores folders of video object masks by J and F, as DAVIS 2017's semi-supervised evaluation does."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np

from data.images import read_labels
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import require_inside
from dataseg_jax.metrics import VideoJF
from dataseg_jax.metrics.video import VOID
from experiments.evaluation.scoring.json_fields import report_extra
from experiments.evaluation.scoring.processes import by_chunks


@dataclasses.dataclass(frozen=True)
class Video:
    """One sequence: its name, and the PNGs of its frames on both sides, in order."""

    name: str
    truth: tuple[str, ...]
    predictions: tuple[str, ...]


def score_video(ground_truth: str, predictions: str, workers: int = 1) -> dict:
    """J, F and their mean over all objects.

    Args:
      ground_truth: folder with a folder for each sequence, a PNG a frame (or the PNGs of a single sequence): indexed or
        gray, values are objects from 1. 255 is no object, but where it is the only value beside 0 it is object 1.
      predictions: the same of any model; folders and files have equal names.
      workers: number of processes.

    Returns:
      `VideoJF.compute`, and the numbers of sequences and objects.

    Raises:
      InputError: files that cannot be scored.
    """
    sequences = _sequences(ground_truth, predictions)
    state = functools.reduce(lambda one, other: one.merge(other), by_chunks(states_of, sequences, workers))
    return state.compute() | {"sequences": len(sequences), "objects": len(state.objects)}


def states_of(sequences: Sequence[Video]) -> VideoJF:
    """The state of some sequences."""
    state = VideoJF()
    for sequence in sequences:
        try:
            state.update(_read(sequence.truth), _read(sequence.predictions))
        except InputError as error:
            raise InputError(f"{sequence.name}: {error}") from None
    return state


def _read(files: tuple[str, ...]) -> np.ndarray:
    frames = [read_labels(file) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise InputError(f"{file}: is {frame.shape[1]}x{frame.shape[0]}, but {files[0]} is of another size")
    masks = np.stack(frames)
    return np.where(masks == VOID, 1, masks) if set(np.unique(masks).tolist()) <= {0, VOID} else masks


def _sequences(ground_truth: str, predictions: str) -> list[Video]:
    names = sorted(entry.name for entry in os.scandir(ground_truth) if entry.is_dir())
    if not names:
        return [_sequence(ground_truth, predictions, "")]
    missing = [name for name in names if not os.path.isdir(os.path.join(predictions, name))]
    if missing:
        raise InputError(
            f"{predictions}: no folder {missing[0]}; {len(missing)} of the {len(names)} sequences have none"
        )
    extra = sorted({entry.name for entry in os.scandir(predictions) if entry.is_dir()} - set(names))
    report_extra(predictions, extra, ground_truth)
    return [_sequence(ground_truth, predictions, name) for name in names]


def _sequence(ground_truth: str, predictions: str, name: str) -> Video:
    folders = [os.path.join(side, name) if name else side for side in (ground_truth, predictions)]
    frames = sorted(file for file in os.listdir(folders[0]) if file.endswith(".png"))
    if not frames:
        raise InputError(f"{folders[0]}: holds no .png file; a sequence is a folder with one for each frame")
    missing = [file for file in frames if not os.path.isfile(os.path.join(folders[1], file))]
    if missing:
        raise InputError(f"{folders[1]}: no {missing[0]}; {len(missing)} of {len(frames)} frames have no prediction")
    paths = [tuple(os.path.join(folder, file) for file in frames) for folder in folders]
    for side, files in zip((ground_truth, predictions), paths, strict=True):
        for file in files:
            require_inside(file, side)
    return Video(name or os.path.basename(os.path.normpath(ground_truth)), *paths)
