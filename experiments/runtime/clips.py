"""Runs on videos: their settings, and the mixture of clips that they train on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from data.pipeline.clips.augmentation import ClipAugmentation, Path
from data.pipeline.clips.clip import Sampling
from data.pipeline.clips.colour import Jitter
from data.pipeline.clips.interaction import InteractionSettings
from data.pipeline.clips.mixture import ClipEntry
from data.pipeline.clips.training import TrainingClips
from data.pipeline.mixture import Mixture
from dataseg_jax.errors import InputError

if TYPE_CHECKING:
    from experiments.build import Dataset
    from experiments.runtime.settings import DatasetSettings, Settings

TASK = "video"
MOST_MOVE = 3.0  # ours: of Path, whose longest shift is then three quarters of the image.


@dataclasses.dataclass(frozen=True)
class ClipSettings:
    """How clips are drawn and asked about; the fields are described in `configs/base.py`."""

    frames: int
    max_stride: int
    reverse: float
    mask: float
    box: float
    most_prompted: int
    most_corrected: int
    clicks: int
    from_truth: float
    shear: float
    grey: float

    @property
    def interaction(self) -> InteractionSettings:
        """The simulated user. Raises InputError."""
        fields = (field.name for field in dataclasses.fields(InteractionSettings))
        return InteractionSettings(**{name: getattr(self, name) for name in fields})

    @property
    def sampling(self) -> Sampling:
        """The frames of a clip. Raises InputError."""
        return Sampling(self.frames, self.max_stride, self.reverse)


def has_clips(datasets: Sequence[DatasetSettings]) -> bool:
    """Whether a run on these datasets trains on clips."""
    return any(dataset.task == TASK and dataset.ratio for dataset in datasets)


def require_usable_clips(settings: Settings) -> None:
    """Raises InputError where the settings of a run on clips cannot be used, or do not go with its model or batch."""
    clips = settings.clips
    for dataset in settings.datasets:
        _require_usable_move(dataset, has_clips(settings.datasets))
    if not has_clips(settings.datasets):
        return
    try:
        most = max(clips.interaction.most_corrected, clips.sampling.frames > 0)
    except InputError as error:
        raise InputError(f"config.clips: {error}") from None
    if not settings.model.memory:
        raise InputError("config.datasets: task video trains a model that tracks; config.model.memory has its fields")
    slots = settings.model.interaction.get("frames", 2)
    if most > slots:
        raise InputError(
            f"config.clips.most_corrected={most}: it must be at most config.model.interaction.frames={slots}, the "
            "prompted frames that the memory holds in training"
        )
    if not settings.batch_size:
        raise InputError("config.batch_size=0 measures batches of images; give a number for clips")
    boxes = [dataset.name for dataset in settings.datasets if dataset.ratio and dataset.task in ("boxes", "regions")]
    if boxes:
        raise InputError(f"config.datasets.{boxes[0]}: has no masks, which clips need; leave it out beside videos")


def _require_usable_move(dataset: DatasetSettings, in_clips: bool) -> None:
    where = f"config.datasets.{dataset.name}.move={dataset.move}"
    if not 0 <= dataset.move <= MOST_MOVE:
        raise InputError(f"{where}: it is 0 for images that stay, 1 for the whole path, at most {MOST_MOVE:g}")
    if dataset.move and dataset.task == TASK:
        raise InputError(f"{where}: videos move by themselves; it is for images beside them")
    if dataset.move and not in_clips:
        raise InputError(f"{where}: images are moved beside a dataset of task {TASK}, and there is none")


def clip_entries(datasets: Sequence[Dataset], settings: Settings, ratio_of) -> list[ClipEntry]:
    """What the mixture has to know of every dataset that is drawn. Raises InputError."""
    clips = settings.clips

    def augmentation(of: DatasetSettings) -> ClipAugmentation:
        jitters = (ClipAugmentation.jitter, ClipAugmentation.frame_jitter)
        jitter, frame_jitter = (Jitter(*(of.colour_jitter * strength for strength in one)) for one in jitters)
        grey, fill = clips.grey * (of.colour_jitter > 0), tuple(settings.model.fill)
        side, shear = settings.image_size, clips.shear * (of.rotate > 0)
        return ClipAugmentation(side, of.flip, of.rotate, shear, jitter, grey, frame_jitter, fill)

    def path(of: DatasetSettings) -> Path | None:
        return Path().times(of.move) if of.move else None

    return [
        ClipEntry(d.source, ratio_of(d), clips.sampling, augmentation(d.settings), path(d.settings), packed=True)
        for d in datasets
        if d.settings.ratio
    ]


def clip_shapes(settings: Settings) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of what a clip of all its frames brings in place of what an image does, see `TrainingClips`."""
    clips, side = settings.clips, settings.image_size
    frames = {"frame_valid": np.bool_, "order": np.int32, "prompted": np.bool_, "corrected": np.bool_, "kind": np.int32}
    return {key: ((clips.frames,), kind) for key, kind in frames.items()} | {
        "image": ((clips.frames, side, side, 3), np.uint8),
        "masks": ((clips.frames, settings.max_targets, side, side // 8), np.uint8),
        "from_truth": ((clips.frames, clips.clicks), np.bool_),
    }


def mixture_kind(datasets: Sequence[Dataset], settings: Settings):
    """The class of the run's mixture: of images, or of clips with their interaction."""
    if not has_clips(settings.datasets):
        return Mixture
    rows = [row for row, dataset in enumerate(datasets) if dataset.settings.ratio]
    return functools.partial(TrainingClips, rows=rows, interaction=settings.clips.interaction)
