"""What a tracker is, and several as one. `experiments.trackers.opening` opens those of a config."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

Value = bool | int | float | str | None


class Tracker(Protocol):
    """Takes what a run reports. The same step may come again, where a run continues from before its end."""

    def config(self, values: Mapping[str, Value]) -> None:
        """The settings of the run, dotted name -> value; once, before everything else."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step by name, such as "train/loss"."""

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """A sheet of images, uint8[H, W, 3]."""

    def close(self) -> None:
        """Ends it; what was taken is written."""


class Several:
    """Trackers that all get the same."""

    def __init__(self, trackers: Sequence[Tracker]):
        self.trackers = tuple(trackers)

    def config(self, values: Mapping[str, Value]) -> None:
        """See `Tracker`."""
        for tracker in self.trackers:
            tracker.config(values)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for tracker in self.trackers:
            tracker.scalars(step, values)

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """See `Tracker`."""
        for tracker in self.trackers:
            tracker.image(step, name, sheet)

    def close(self) -> None:
        """See `Tracker`. In reverse: the first may raise where the disk is full, after the others have ended."""
        for tracker in reversed(self.trackers):
            tracker.close()


def flat(settings: Any, prefix: str = "") -> dict[str, Value]:
    """Nested settings as dotted name -> value: those of dicts, and of lists of dicts that have a name."""
    if isinstance(settings, Mapping):
        parts = settings.items()
    elif (
        isinstance(settings, list | tuple)
        and settings
        and all(isinstance(s, Mapping) and "name" in s for s in settings)
    ):
        parts = ((entry["name"], entry) for entry in settings)
    else:
        return {prefix: settings if isinstance(settings, Value) else str(settings)}
    return {
        name: value for key, part in parts for name, value in flat(part, f"{prefix}.{key}" if prefix else key).items()
    }
