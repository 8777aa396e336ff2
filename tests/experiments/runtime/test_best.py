"""The best checkpoint stays, whatever becomes of the others."""

import json
import shutil
from types import SimpleNamespace

import pytest

from experiments.runtime.checkpoints import best as module
from experiments.runtime.checkpoints.best import Best, metric_of
from tests.messages import one_line


def checkpoint(folder, step):
    path = folder / "checkpoints" / str(step) / "model"
    path.mkdir(parents=True)
    (path / "model.json").write_text(str(step))


def offer(folder, best, step, score):
    checkpoint(folder, step)
    best.offer(step, {"set": {"pq": score}}, folder / "checkpoints")


def kept(folder):
    (step,) = [path for path in (folder / "best").iterdir()]
    assert (step / "model" / "model.json").read_text() == step.name
    return int(step.name), json.loads((step / "best.json").read_text())["score"]


@pytest.mark.parametrize("links", [True, False])
def test_the_highest_score_stays_over_restarts(tmp_path, capsys, monkeypatch, links):
    if not links:
        monkeypatch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError(95, "Not supported")))
    best = Best(tmp_path, "set/pq")
    offer(tmp_path, best, 10, float("nan"))
    assert not (tmp_path / "best").exists()
    offer(tmp_path, best, 20, 0.5)
    offer(tmp_path, best, 30, 0.5)  # A tie: the earlier one.
    shutil.rmtree(tmp_path / "checkpoints")
    assert kept(tmp_path) == (20, 0.5)
    best = Best(tmp_path, "set/pq")
    offer(tmp_path, best, 40, 0.4)
    assert kept(tmp_path) == (20, 0.5)
    offer(tmp_path, best, 15, 0.6)
    assert kept(tmp_path) == (15, 0.6)
    assert capsys.readouterr().out.count("\n") == 2
    offer(tmp_path, Best(tmp_path, "set/pq"), 50, 0.1)
    assert kept(tmp_path) == (15, 0.6)


def test_another_metric_begins_anew(tmp_path):
    offer(tmp_path, Best(tmp_path, "set/pq"), 10, 0.5)
    checkpoint(tmp_path, 20)
    Best(tmp_path, "set/sq").offer(20, {"set": {"sq": 0.1}}, tmp_path / "checkpoints")
    assert kept(tmp_path) == (20, 0.1)


def test_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch, capsys):
    best = Best(tmp_path, "set/pq")
    offer(tmp_path, best, 10, 0.5)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copytree", full)
    offer(tmp_path, best, 20, 0.6)
    assert kept(tmp_path) == (10, 0.5)
    assert "step 20, could not be kept (No space left on device)" in capsys.readouterr().out


def test_what_it_is_chosen_by():
    sets = [SimpleNamespace(name="a", task="boxes"), SimpleNamespace(name="b", task="semantic")]
    assert metric_of("", sets) == "b/miou" and metric_of("a/mask_ap50", sets) == "a/mask_ap50"
    sets.append(SimpleNamespace(name="c", task="referring"))
    assert metric_of("c/oiou", sets) == "c/oiou" and metric_of("", sets[2:]) == "c/miou"
    one_line(lambda: metric_of("a/pq", sets), "config.eval.best='a/pq'", "b/miou", "a/mask_ap")
