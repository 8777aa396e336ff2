"""What a run says of its input: dropped targets and unreadable pictures, by dataset."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataseg_jax.objective import Diagnostics
from dataseg_jax.tasks import Weights
from dataseg_jax.train_step import StepMetrics
from experiments.telemetry import Telemetry


def metrics(task):
    """Of a step on four pictures of one of two datasets."""
    here = np.eye(2)[task]
    terms = Weights(*[here] * 4)
    fields = {field: here for field in Diagnostics.__dataclass_fields__} | {"pictures": 4 * here}
    return StepMetrics(np.float32(1), here, terms, Diagnostics(**fields), np.float32(1), np.float32(0))


def test_dropped_targets_and_unreadable_pictures_are_told_by_dataset(tmp_path, capsys):
    telemetry = Telemetry(str(tmp_path), ["a", "b"], steps=3, batch_size=4, every=3, seconds=1e9, rate=lambda step: 0.1)
    telemetry.start(0)
    unreadable = {}
    for step, (task, dropped) in enumerate([(0, [0, 3, 0, 2]), (1, [0, 0, 0, 0]), (0, [1, 0, 0, 0])], 1):
        unreadable["b"] = step
        host = {"task": np.full(4, task), "dropped": np.array(dropped), "image_id": np.arange(4)}
        telemetry.record(step, metrics(task), 0.0, host, unreadable)
    telemetry.close()

    out = capsys.readouterr().out
    assert "dropped: 6 of a" in out and "of b" not in out
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    value = lambda name: events.Scalars(name)[-1].value  # noqa: E731
    assert value("train/a/dropped_targets") == pytest.approx(6 / 8) and value("train/b/dropped_targets") == 0
    assert value("train/b/unreadable_pictures") == 3
    assert "train/a/unreadable_pictures" not in events.Tags()["scalars"]
