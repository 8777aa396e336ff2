"""Weights & Biases. Its own variables say where and how: WANDB_API_KEY, WANDB_PROJECT, WANDB_MODE=offline, ..."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.trackers.tracker import Value

PROJECT = "dataseg_jax"  # Where WANDB_PROJECT does not say.


class WandB:
    """See `Tracker`. The run's id is that of the workdir, so that a run that continues is one run there too."""

    def __init__(self, workdir: Path, run_id: str):
        """Begins the run, or continues it. Raises what wandb raises."""
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", workdir.resolve().name),
            dir=str(workdir),
            id=run_id,
            resume="allow",
            reinit="create_new",  # The evaluation at the end follows a run that was closed.
            settings=wandb.Settings(silent=True, console="off"),
        )
        # Steps may come again, where a run continues from a checkpoint; wandb's own may only rise.
        self._run.define_metric("*", step_metric="step")

    @property
    def place(self) -> str:
        """The address of the run, or its folder where it is offline."""
        return self._run.dir if self._run.offline else self._run.url

    def config(self, values: Mapping[str, Value]) -> None:
        """See `Tracker`."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log({**values, "step": step})

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """See `Tracker`."""
        self._run.log({name: self._wandb.Image(sheet), "step": step})

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()
