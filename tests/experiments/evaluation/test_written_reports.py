"""The files of an evaluation: whole or as they were, results.json last, and names of others as nothing but text."""

import dataclasses
import json
import os

import numpy as np
import pytest
from markdown_it import MarkdownIt

from configs import quickstart
from data.shapes import Counts, write_world
from dataseg_jax.results.markup import as_line
from experiments import build
from experiments.evaluation import reporting
from experiments.evaluation.dataset_result import DatasetResult
from experiments.evaluation.report import BestAndWorst, ShownImage
from experiments.runtime import settings
from tests.experiments.evaluation.test_report import Tags

# A vocabulary refuses control characters and halves of characters, which test_markup.py has.
EVIL = '<script>alert(1)</script>|`x` *y* "z" \'# <b>'


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(settings, the result of a dataset whose every name is `EVIL`)."""
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(root, counts=Counts(panoptic=1, semantic=1, boxes=1, val=1), workers=1)
    config = quickstart.get_config("smoke")
    config.world.root = str(root)
    run = settings.from_config(config, "unused")
    dataset = build.open_dataset(next(d for d in run.validation if d.name == "panoptic"), run)
    names = (EVIL, *dataset.vocabulary.names[1:])
    vocabulary = dataclasses.replace(dataset.vocabulary, name=EVIL, names=names)
    dataset = dataclasses.replace(
        dataset, vocabulary=vocabulary, settings=dataclasses.replace(dataset.settings, name=EVIL.replace("/", ""))
    )
    image, kept = np.zeros((8, 8, 3), np.uint8), BestAndWorst(1)
    for score in (0.25, 0.75):
        kept.add(score, lambda s: ShownImage(EVIL, s, ((EVIL, image),), EVIL))
    scores = {"pq": 0.5, "per_class": {EVIL: {"pq": 0.5, "sq": 0.5, "rq": 0.5, EVIL: 3}}}
    return run, DatasetResult(dataset, EVIL, scores, None, (), kept, ((EVIL, EVIL, False),))


def test_names_are_text_in_the_table_and_on_the_page(written, tmp_path, capsys):
    run, result = written
    workdir = tmp_path / EVIL.replace("/", "").replace("\n", "").replace("\udc80", "")
    workdir.mkdir()
    reporting.write_report(workdir, 3, [result], run)
    tags = Tags((workdir / "report.html").read_text(encoding="utf-8")).found
    assert [tag for tag, _ in tags].count("script") == 1 and not [
        a for _, attrs in tags for a in attrs if a[:2] == "on"
    ]
    text = (workdir / "results.md").read_text(encoding="utf-8")
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    cells = [tag for tag, _ in Tags(rendered).found]
    assert set(cells) == {"table", "thead", "tbody", "tr", "th", "td", "p"} and cells.count("td") == 5
    assert "alert(1)" in text and as_line(result.dataset.name) not in text and text in capsys.readouterr().out


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_results_json_is_as_it_was_until_all_else_is_written(written, tmp_path, monkeypatch, stop):
    """A kill before any of the renames: results.json says that a run is scored, so it is the last."""
    run, result = written
    for name in ("results.md", "report.html", "results.json"):
        (tmp_path / name).write_text("old")
    replace, renamed = os.replace, []

    def killed(source, target):
        if len(renamed) == stop:
            raise KeyboardInterrupt
        renamed.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        reporting.write_report(tmp_path, 3, [result], run)
    assert (tmp_path / "results.json").read_text() == "old" and "results.json" not in renamed
    texts = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert {name for name, text in texts.items() if text == "old"} == set(texts) - set(renamed)
    monkeypatch.undo()
    reporting.write_report(tmp_path, 3, [result], run)
    assert json.loads((tmp_path / "results.json").read_text())["step"] == 3
    assert sorted(os.listdir(tmp_path)) == ["report.html", "results.json", "results.md"]
