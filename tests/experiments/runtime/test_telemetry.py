"""What a run says of its input: dropped targets and unreadable images, by dataset."""

import dataclasses

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataseg_jax.objective.objective import Diagnostics, QueryKinds
from dataseg_jax.objective.terms import TERMS
from dataseg_jax.training.train_step import StepMetrics
from experiments.runtime.telemetry import Telemetry


def metrics(task):
    """Of a step on four images of one of two datasets."""
    here = np.eye(2)[task]
    terms = dict.fromkeys(TERMS, here)
    kinds = QueryKinds(things=4 * here, stuff=2 * here, things_conditional=3 * here, stuff_conditional=0 * here)
    fields = {field: here for field in Diagnostics.__dataclass_fields__} | {"images": 4 * here, "kinds": kinds}
    return StepMetrics(np.float32(1), here, terms, Diagnostics(**fields), np.float32(1), np.float32(0))


def test_dropped_targets_and_unreadable_images_are_reported_by_dataset(tmp_path, capsys):
    telemetry = Telemetry(str(tmp_path), ["a", "b"], steps=3, batch_size=4, every=3, seconds=1e9, rate=lambda step: 0.1)
    telemetry.start(0)
    telemetry.share_of_an_image = 0.25
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
    assert value("train/mfu") == pytest.approx(0.25 * value("train/images_per_second"))
    assert value("train/b/unreadable_images") == 3
    assert value("train/a/things_by_conditional_queries") == 0.75
    assert value("train/a/stuff_by_conditional_queries") == 0
    assert "train/a/unreadable_images" not in events.Tags()["scalars"]


def test_targets_that_stay_unmatched_are_reported_once(tmp_path, capsys):
    """Where all proposals of a semantic dataset are merged into one, its loss is low and nothing is learned."""
    telemetry = Telemetry(str(tmp_path), ["a", "b"], steps=999, batch_size=4, every=999, seconds=0.0, rate=None)
    telemetry.start(0)
    host = {"task": np.zeros(4, int), "dropped": np.zeros(4, int), "image_id": np.arange(4)}
    few = dataclasses.replace(metrics(0).diagnostics, unmatched=np.array([0.9, 0.0]), targets=np.array([1.0, 0.0]))
    for step in (1, 2, 3, 4, 250, 251, 252, 253):
        telemetry.record(step, metrics(0).replace(diagnostics=few), 0.0, host, {})
    telemetry.close()
    lines = [line for line in capsys.readouterr().out.splitlines() if "matched to nothing" in line]
    assert len(lines) == 1 and lines[0].startswith("a: 90% of its targets") and "merge_warmup_steps" in lines[0]


def test_a_restart_drops_what_will_be_run_again(tmp_path):
    telemetry = Telemetry(str(tmp_path), ["a", "b"], steps=9, batch_size=4, every=100, seconds=1e9, rate=None)
    telemetry.start(0)
    host = {"task": np.zeros(4, int), "dropped": np.zeros(4, int), "image_id": np.arange(4)}
    for step in range(1, 6):
        telemetry.record(step, metrics(0), 0.0, host, {})
    telemetry.flush()  # Now a kill loses none, though no report was due.
    assert len((tmp_path / "losses.csv").read_text().splitlines()) == 6
    for step in (2, 4):
        telemetry.scores(step, {"a": {"pq": 0.5}})
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"step": 5, "a": {"p')  # A kill cut it short.
    again = Telemetry(str(tmp_path), ["a", "b"], steps=9, batch_size=4, every=100, seconds=1e9, rate=None)
    again.start(3)
    assert [line.split(",")[0] for line in (tmp_path / "losses.csv").read_text().splitlines()] == ["step", *"123"]
    assert again.scored(2) and not again.scored(4)
    again.scores(2, {"a": {"pq": 0.6}})  # Of a run that was killed after its last evaluation, and evaluates again.
    assert (tmp_path / "scores.jsonl").read_text() == '{"step": 2, "a": {"pq": 0.6}}\n'
    for each in (telemetry, again):
        each.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_events_go_on_after_a_disk_was_full(tmp_path, monkeypatch):
    telemetry = Telemetry(str(tmp_path), ["a"], steps=9, batch_size=4, every=100, seconds=1e9, rate=None)
    telemetry.start(0)
    (board,) = telemetry._opened.trackers
    thread = board._writer.file_writer.event_writer._worker

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(thread._record_writer, "write_event", full)
        board._writer.add_scalar("x", 1.0, 1)
        thread.join(10)
    assert not thread.is_alive()
    for step in range(30):  # More than the queue takes that nobody empties.
        telemetry.scores(step, {"a": {"pq": 0.5}})
    telemetry.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("eval/a/pq")) == 30
