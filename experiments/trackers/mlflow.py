"""MLflow. Its own variables say where: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_TRACKING_TOKEN, ..."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.trackers.tracker import Value

EXPERIMENT = "dataseg_jax"  # Where MLFLOW_EXPERIMENT_NAME does not say.
_LONGEST = 500  # Characters of a parameter that every store of MLflow takes,
_AT_ONCE = 100  # and parameters of one request.
# ours: MLflow tries for many minutes, and what waits meanwhile is lost.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MLflow:
    """See `Tracker`. The run is the one that the workdir's id is a tag of, so that a run that continues is one."""

    def __init__(self, workdir: Path, run_id: str):
        """Begins the run, or continues it. Raises what mlflow raises."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        found = self._client.search_runs([experiment], f"tags.dataseg_id = '{run_id}'", max_results=1)
        run = found[0] if found else self._client.create_run(
            experiment, tags={"dataseg_id": run_id}, run_name=workdir.resolve().name
        )  # fmt: skip
        self._run = run.info.run_id
        self._known = set(run.data.params)
        self._client.update_run(self._run, "RUNNING")

    @property
    def place(self) -> str:
        """The server or file, and the run's id there."""
        return f"{self._client.tracking_uri}, run {self._run}"

    def config(self, values: Mapping[str, Value]) -> None:
        """See `Tracker`. MLflow's parameters do not change: of a run that continues the new ones are added."""
        from mlflow.entities import Param

        new = [Param(name, str(value)[:_LONGEST]) for name, value in values.items() if name not in self._known]
        for first in range(0, len(new), _AT_ONCE):
            self._client.log_batch(self._run, params=new[first : first + _AT_ONCE])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, float(value), now, step) for name, value in values.items()])

    def image(self, step: int, name: str, sheet: np.ndarray) -> None:
        """See `Tracker`."""
        self._client.log_image(self._run, sheet, key=name.replace("/", "_"), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        self._client.update_run(self._run, "FINISHED")
