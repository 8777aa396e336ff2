"""The benchmark of scoring runs on a small dataset, and what it times is right."""

import argparse
import json

import numpy as np
import pytest
from PIL import Image

from dataseg_jax.errors import InputError
from dataseg_jax.text import load_vocabulary
from experiments.benchmark.evaluation import scoring, share
from experiments.benchmark.evaluation.scored_images import write_predictions
from experiments.benchmark.timing import core_seconds
from experiments.evaluate import score_miou_labels, score_miou_panoptic, score_pq
from tests.experiments.panoptic_files import write_panoptic


@pytest.fixture
def coco(tmp_path):
    """Six images of 30 x 40 with COCO's own categories, as a folder of COCO panoptic."""
    v = load_vocabulary("coco_panoptic")
    categories = [
        {"id": i, "name": name, "isthing": int(thing)}
        for i, name, thing in zip(v.ids, v.names, v.is_thing, strict=True)
    ]
    things = [c["id"] for c in categories if c["isthing"]]
    rng = np.random.default_rng(0)
    truth, images = {}, []
    (tmp_path / "coco" / "images").mkdir(parents=True)
    for n in range(6):
        ids = np.full((30, 40), 90_000)
        ids[5:25, 3:18], ids[10:28, 20:38], ids[:3] = 7, 1_000_000, 0
        segments = [(90_000, v.ids[-1], 0), (7, int(rng.choice(things)), 0), (1_000_000, int(rng.choice(things)), 0)]
        truth[n] = ids, segments
        images.append({"id": n, "file_name": f"{n}.png", "height": 30, "width": 40})
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(tmp_path / "coco" / "images" / f"{n}.png")
    path = write_panoptic(tmp_path / "coco" / "panoptic.json", truth, categories=categories)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": images}))
    return str(tmp_path / "coco")


def test_rows_of_a_small_dataset(coco, capsys, monkeypatch):
    monkeypatch.setattr(scoring.official_pq, "installed", lambda: False)
    flags = argparse.Namespace(coco=coco, images=5, parallel=10, workers=1, model_images=0, side=64)
    rows = {(row.what, row.beside): row for row in scoring.run(flags)}
    assert len(rows) == 7 and all(row.value > 0 for row in rows.values())
    assert sum("panopticapi: not installed" in beside for _, beside in rows) == 2
    assert "pip install git+https://github.com/cocodataset/panopticapi" in capsys.readouterr().err
    assert any("AP differs by 0" in beside for _, beside in rows)


def test_predictions_are_wrong_but_not_all(coco, tmp_path):
    (tmp_path / "out").mkdir()
    scored = write_predictions(coco, str(tmp_path / "out"), 0)
    files = scored.truth, scored.guess, scored.truth_pngs, scored.guess_pngs
    assert 0.1 < score_pq(*files)["pq"] < 0.9
    labels = score_miou_labels(scored.truth_labels, scored.guess_labels)
    assert labels["miou"] == pytest.approx(score_miou_panoptic(*files)["miou"]) and labels["images"] == 6
    with pytest.raises(InputError, match=r"panoptic.json with panoptic/"):
        write_predictions(str(tmp_path), str(tmp_path / "out"), 0)


def test_the_least_of_several_turns_counts():
    turns = {"slow": 0, "fast": 0}

    def work(name, size):
        turns[name] += 1
        sum(range(size))

    seconds = core_seconds({"slow": lambda: work("slow", 400_000), "fast": lambda: work("fast", 10)}, turns=4)
    assert turns == {"slow": 4, "fast": 4} and seconds["slow"] > seconds["fast"]


@pytest.mark.slow
def test_shares_of_an_evaluation_add_up(coco, tmp_path):
    c = share.config(coco, 64)
    c.model.backbone.update(stage_sizes=(1, 1, 1, 1), width=8)
    c.model.pixel_decoder.update(layers=1, width=32, heads=2, ffn=16)
    c.model.mask_decoder.update(queries=6, width=32, layers=1, heads=2, ffn=16)
    rows = share.rows(c, 3, str(tmp_path / "workdir"), thresholds=(0.0,))
    assert [row.unit for row in rows] == ["ms", "%", "%", "%"]
    assert rows[2].value + rows[3].value == pytest.approx(rows[1].value)
    assert rows[0].value > 0 and 0 < rows[1].value < 100
    assert "3 images" in rows[0].what and "thresholds 0, " in rows[0].what
    assert (tmp_path / "workdir" / "predictions" / "coco").is_dir() and (tmp_path / "workdir" / "report.html").exists()
