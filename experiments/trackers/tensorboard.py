"""TensorBoard's event files, in the folder `tensorboard` of the workdir."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

from experiments.trackers.tracker import Value


class TensorBoard:
    """See `Tracker`. It leaves the config to the file in the workdir."""

    def __init__(self, workdir: Path):
        self._folder = str(workdir / "tensorboard")
        self._writer = SummaryWriter(self._folder)

    def config(self, values: Mapping[str, Value]) -> None:
        """See `Tracker`."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`. Raises OSError where the disk is full."""
        writer = self._events()
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """See `Tracker`."""
        self._events().add_image(name, sheet, step, dataformats="HWC")

    def close(self) -> None:
        """See `Tracker`. Raises OSError where the disk is full."""
        self._writer.close()

    def _events(self) -> SummaryWriter:
        """The writer, or a new one where a full disk has ended its thread, whose queue would then block forever."""
        if not self._writer.file_writer.event_writer._worker.is_alive():
            self._writer = SummaryWriter(self._folder)
        return self._writer
