"""Which trackers a run has, and its id in them."""

import importlib.util
import json
import types

import pytest

from configs import quickstart
from dataseg_jax.errors import InputError
from experiments.runtime import settings
from experiments.runtime.telemetry import Telemetry, final_scores
from experiments.trackers import opening
from experiments.trackers.tensorboard import TensorBoard
from tests.messages import one_line


class Service:
    """A service that notes who opens it."""

    opened, broken, place = [], False, "nowhere"

    def __init__(self, workdir, run_id):
        if self.broken:
            raise RuntimeError("no login\nsecond line")
        Service.opened.append(run_id)
        self.got = []

    def __getattr__(self, name):
        return lambda *what: self.got.append((name, *what))


@pytest.fixture
def service(monkeypatch):
    """In place of wandb."""
    monkeypatch.setattr(Service, "opened", [])
    monkeypatch.setattr(Service, "broken", False)
    module = types.SimpleNamespace(Fake=Service)
    importer = opening.importlib.import_module
    monkeypatch.setattr(opening.importlib, "import_module", lambda name: module if name == "fake" else importer(name))
    monkeypatch.setattr(opening, "SERVICES", {"wandb": ("fake", "Fake")})
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name == "wandb" else find(name))
    return Service


def test_a_config_names_trackers(monkeypatch, tmp_path):
    config = quickstart.get_config("smoke")
    assert settings.from_config(config, str(tmp_path)).log.trackers == ("tensorboard",)
    for given, part in ((("visdom",), "'visdom' is none of"), (("tensorboard,tensorboard",), "twice"), ((3,), "'3'")):
        config.log.trackers = given
        one_line(lambda: settings.from_config(config, str(tmp_path)), "config.log.trackers=", part)
    assert opening.names_of(("tensorboard,wandb",) if importlib.util.find_spec("wandb") else ()) is not None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("wandb", "mlflow"):
        one_line(lambda name=name: opening.names_of((name,)), f"needs {name}: pip install 'dataseg_jax[{name}]'")


def test_names_may_be_one_text(service):
    assert opening.names_of(("tensorboard, wandb",)) == opening.names_of(("tensorboard", "wandb"))
    assert opening.names_of(()) == ()


def test_a_run_that_continues_has_the_same_id(service, tmp_path):
    said = []
    for _ in range(2):
        several = opening.open_trackers(("tensorboard", "wandb"), tmp_path, True, said.append)
        assert isinstance(several.trackers[0], TensorBoard) and len(several.trackers) == 2
        several.scalars(1, {"a": 1.0})
        several.close()
    first, second = service.opened
    assert first == second == json.loads((tmp_path / "trackers.json").read_text())["id"]
    assert said == ["wandb: nowhere"] * 2
    other = tmp_path / "other"
    other.mkdir()
    opening.open_trackers(("wandb",), other, True, said.append).close()
    assert service.opened[2] != first


def test_a_service_that_cannot_be_begun(service, tmp_path):
    service.broken, said = True, []
    asked = ("tensorboard", "wandb"), tmp_path
    one_line(lambda: opening.open_trackers(*asked, True, said.append).close(), "wandb cannot be begun", "no login")
    several = opening.open_trackers(*asked, False, said.append)
    assert len(several.trackers) == 1 and len(said) == 1 and "training goes on without it" in said[0]
    several.close()


def test_a_damaged_id_is_one_line(service, tmp_path):
    for content in ("{", "[]", '{"id": 3}', '{"id": "../x"}', '{"id": ""}'):
        (tmp_path / "trackers.json").write_text(content)
        one_line(lambda: opening.open_trackers(("wandb",), tmp_path, True, print), "trackers.json")


def test_a_fresh_run_needs_its_trackers_and_one_that_continues_does_not(service, tmp_path, capsys):
    def telemetry():
        return Telemetry(str(tmp_path), ["a"], 9, 4, 100, 1e9, None, ("wandb",))

    service.broken = True
    with pytest.raises(InputError):
        telemetry().start(0)
    again = telemetry()
    again.start(3)
    again.scores(3, {"a": {"pq": 0.5}})
    again.close()
    assert capsys.readouterr().out.count("training goes on without it") == 1
    assert '"pq": 0.5' in (tmp_path / "scores.jsonl").read_text()


def test_an_evaluation_on_its_own_reports_to_the_run(service, tmp_path):
    with final_scores(str(tmp_path), ("wandb",)) as telemetry:
        assert service.opened == []
        telemetry.scores(3, {"a": {"pq": 0.5, "per_class": {"cat": 0.5}}})
        (guarded,) = telemetry._opened.trackers
    assert guarded._tracker.got == [("scalars", 3, {"eval/a/pq": 0.5}), ("close",)]
