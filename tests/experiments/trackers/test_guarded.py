"""Trackers that fail, are slow or hang: one line, and the run goes on."""

import threading
import time

import numpy as np
import pytest

from experiments.trackers import guarded
from experiments.trackers.guarded import Guarded
from experiments.trackers.tracker import Several, flat


class Service:
    """Keeps what it gets; `broken` says which calls fail, and `gate` holds them up."""

    def __init__(self, broken=(), gate=None):
        self.got, self.broken, self.gate, self.calls = [], broken, gate, 0

    def _take(self, *what):
        if self.gate is not None:
            self.gate.wait(30)
        self.calls += 1
        if self.calls in self.broken:
            raise ConnectionError("no route\nto host")
        self.got.append(what)

    def config(self, values):
        self._take("config", values)

    def scalars(self, step, values):
        self._take("scalars", step, values)

    def image(self, step, name, sheet):
        self._take("image", step, name, sheet)

    def close(self):
        self._take("close")


def test_reports_arrive_in_their_order():
    service, said = Service(), []
    tracker, values = Guarded("x", service, said.append), {"a": 1.0}
    tracker.config({"steps": 3})
    tracker.scalars(1, values)
    values["a"] = 2.0  # What was given stays as it was.
    sheet = np.zeros((2, 2, 3), np.uint8)
    tracker.image(2, "sheet", sheet)
    tracker.scalars(2, values)
    tracker.close()
    assert service.got == [
        ("config", {"steps": 3}), ("scalars", 1, {"a": 1.0}), ("image", 2, "sheet", sheet),
        ("scalars", 2, {"a": 2.0}), ("close",),
    ]  # fmt: skip
    assert said == []


def test_failures_are_said_once_and_later_reports_are_tried():
    service, said = Service(broken=(2, 3, 5)), []
    tracker = Guarded("x", service, said.append)
    for step in range(1, 7):
        tracker.scalars(step, {})
    tracker.close()
    assert [what[1] for what in service.got[:-1]] == [1, 4, 6] and service.got[-1] == ("close",)
    assert said[0] == "x fails (ConnectionError: no route); training goes on, and later reports are tried"
    assert said[1:] == ["x: 3 reports were lost"]


def test_an_end_that_fails_is_no_lost_report():
    service, said = Service(broken=(2,)), []
    tracker = Guarded("x", service, said.append)
    tracker.scalars(1, {})
    tracker.close()
    assert len(said) == 1 and said[0].startswith("x fails (ConnectionError")


def test_training_does_not_wait_for_a_service_that_hangs(monkeypatch):
    monkeypatch.setattr(guarded, "WAITING", 4)
    gate, said = threading.Event(), []
    tracker = Guarded("x", service := Service(gate=gate), said.append, closing=0.3)
    began = time.monotonic()
    for step in range(20):
        tracker.scalars(step, {})
    assert time.monotonic() - began < 1
    assert len(said) == 1 and "slower than the run" in said[0]
    tracker.close()
    assert time.monotonic() - began < 5 and "not all was sent within 0.3 s" in said[1]
    gate.set()
    tracker._thread.join(0.5)  # Where the end did not fit into the queue, the thread ends with the program.
    steps = [what[1] for what in service.got if what != ("close",)]
    assert len(steps) in (4, 5) and steps == list(range(len(steps)))


def test_a_service_that_ends_the_program_does_not():
    class Leaving(Service):
        def scalars(self, step, values):
            raise SystemExit(1)

    said = []
    tracker = Guarded("x", Leaving(), said.append)
    tracker.scalars(1, {})
    tracker.close()
    assert "SystemExit" in said[0]


def test_all_trackers_get_the_same():
    first, second = Service(), Service()
    several = Several([first, second])
    several.config({})
    several.scalars(1, {"a": 1.0})
    several.image(1, "b", None)
    several.close()
    assert first.got == second.got and len(first.got) == 4


def test_the_disk_of_one_does_not_keep_the_others_open():
    first, second = Service(broken=(1,)), Service()
    with pytest.raises(ConnectionError):
        Several([first, second]).close()
    assert second.got == [("close",)]


def test_settings_are_flat():
    nested = {
        "steps": 3, "none": None, "optim": {"rate": 0.1, "milestones": (1, 2)}, "empty": (),
        "datasets": ({"name": "a", "root": "x"}, {"name": "b", "root": "y"}),
    }  # fmt: skip
    assert flat(nested) == {
        "steps": 3, "none": None, "optim.rate": 0.1, "optim.milestones": "(1, 2)", "empty": "()",
        "datasets.a.name": "a", "datasets.a.root": "x", "datasets.b.name": "b", "datasets.b.root": "y",
    }  # fmt: skip
