"""Scores folders of video object masks by J and F, as DAVIS 2017's semi-supervised evaluation or SA-V's does."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np

from dataseg_jax.errors import InputError
from dataseg_jax.io.images import read_labels
from dataseg_jax.io.untrusted import require_inside
from dataseg_jax.metrics import VideoJF
from dataseg_jax.metrics.video import VOID
from experiments.evaluation.scoring.json_fields import report_extra
from experiments.evaluation.scoring.processes import by_chunks


@dataclasses.dataclass(frozen=True)
class Video:
    """One sequence, or one object of it: its name, and the PNGs of its frames on both sides, in order."""

    name: str
    truth: tuple[str, ...]
    predictions: tuple[str, ...]
    single: bool = False  # Whether the PNGs are of one object, whatever their value is.


def score_video(ground_truth: str, predictions: str, workers: int = 1, protocol: str = "davis") -> dict:
    """J, F and their mean over all objects.

    Args:
      ground_truth: folder with a folder for each sequence, a PNG a frame (or the PNGs of a single sequence): indexed or
        gray, values are objects from 1. 255 is no object, but where it is the only value beside 0 it is object 1. By
        SA-V's protocol the folder of a sequence may hold a folder for each object, with a PNG a frame that is 0 where
        the object is not, as `Annotations_6fps` does; and 255 is a value as any other.
      predictions: the same of any model; folders and files have equal names. Frames that the truth lacks are ignored.
      workers: number of processes.
      protocol: one of `dataseg_jax.metrics.video.PROTOCOLS`.

    Returns:
      `VideoJF.compute`, and the numbers of sequences and objects.

    Raises:
      InputError: files that cannot be scored.
    """
    names = _names(ground_truth, predictions)
    videos = [part for name in names for part in _parts(ground_truth, predictions, name, protocol)]
    states = by_chunks({"davis": states_of, "sa_v": states_of_sa_v}[protocol], videos, workers)
    state = functools.reduce(lambda one, other: one.merge(other), states)
    if not state.objects:
        raise InputError(f"{ground_truth}: no frame that is scored shows an object")
    return state.compute() | {"sequences": len(names), "objects": len(state.objects)}


def states_of(sequences: Sequence[Video]) -> VideoJF:
    """The state of some sequences, by DAVIS's protocol."""
    state = VideoJF()
    for sequence in sequences:
        try:
            state.update(_read(sequence.truth), _read(sequence.predictions))
        except InputError as error:
            raise InputError(f"{sequence.name}: {error}") from None
    return state


def states_of_sa_v(sequences: Sequence[Video]) -> VideoJF:
    """The state of some sequences or objects, by SA-V's protocol."""
    state = VideoJF()
    for sequence in sequences:
        try:
            sides = [_stacked(files) for files in (sequence.truth, sequence.predictions)]
            state.update_sa_v(*((side != 0).astype(int) for side in sides) if sequence.single else sides)
        except InputError as error:
            raise InputError(f"{sequence.name}: {error}") from None
    return state


def _read(files: tuple[str, ...]) -> np.ndarray:
    masks = _stacked(files)
    return np.where(masks == VOID, 1, masks) if set(np.unique(masks).tolist()) <= {0, VOID} else masks


def _stacked(files: tuple[str, ...]) -> np.ndarray:
    frames = [read_labels(file) for file in files]
    for file, frame in zip(files, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise InputError(f"{file}: is {frame.shape[1]}x{frame.shape[0]}, but {files[0]} is of another size")
    return np.stack(frames)


def _names(ground_truth: str, predictions: str) -> list[str]:
    """The sequences, each a folder on both sides; [""] where the folders are one sequence."""
    names = _folders(ground_truth)
    missing = [name for name in names if not os.path.isdir(os.path.join(predictions, name))]
    if missing:
        raise InputError(
            f"{predictions}: no folder {missing[0]}; {len(missing)} of the {len(names)} sequences have none"
        )
    if names:
        report_extra(predictions, sorted(set(_folders(predictions)) - set(names)), ground_truth)
    return names or [""]


def _parts(ground_truth: str, predictions: str, name: str, protocol: str) -> list[Video]:
    """A sequence, or by SA-V's protocol its objects where each has a folder."""
    objects = _folders(os.path.join(ground_truth, name)) if name and protocol == "sa_v" else []
    if not objects:
        return [_sequence(ground_truth, predictions, name)]
    for number in objects:
        if not os.path.isdir(os.path.join(predictions, name, number)):
            raise InputError(f"{os.path.join(predictions, name)}: no folder {number}; each object of the truth has one")
    parts = [_sequence(ground_truth, predictions, f"{name}/{number}") for number in objects]
    return [dataclasses.replace(part, single=True) for part in parts]


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())


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
