"""MQ-Former's tables: runs at each scale, what cannot be run, and the paper's numbers; a stub replaces training."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import jax
import pytest

from configs import mqformer_quickstart
from experiments.build import build_model, dummy_batch
from experiments.sweep import local
from experiments.sweep.variant_state import finished
from experiments.sweep.variants import resolve
from experiments.tables.__main__ import main
from experiments.tables.design import Setting
from experiments.tables.mqformer import measured
from experiments.tables.mqformer.definitions import define_mqformer
from experiments.tables.mqformer.runs import REASONS, FamilyPlan, leave_out
from experiments.tables.mqformer.scales import EMBEDDED, FULL, SAMPLE
from experiments.tables.published import published
from tests.experiments.sweep import sweep_stub  # noqa: F401  Hushes submitit.
from tests.experiments.tables.test_tables import shown

METRIC_OF = {
    "panoptic": ["pq"], "semantic": ["miou"], "boxes": ["mask_ap"], "instance": ["mask_ap", "box_ap"],
    "referring": ["miou"], "foreground": ["mae"],
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def trained(monkeypatch):
    """The runs that were started, in place of training: a score for each validation set, by its own name's length."""
    started = []

    def train(variants, *others):
        for variant in variants:
            if finished(variant.workdir):
                continue
            started.append(variant.name)
            scores = {
                name: dict.fromkeys(METRIC_OF[fields["task"]], len(variant.config["datasets"]) / 10)
                for name, fields in variant.config["validation"].items()
            }
            content = {"step": variant.config["steps"], "scores": scores}
            (variant.workdir / "results.json").write_text(json.dumps(content))

    monkeypatch.setattr(local, "run", train)
    return started


def command(out, table, *more, scale="embedded"):
    return main([f"--table={table}", f"--scale={scale}", f"--out={out}", "--seeds=0", *more])


def test_what_is_missing_is_said_and_runs_once_it_is_there(tmp_path, trained, capsys):
    assert command(tmp_path, "mqC,mq2") == 1
    assert set(trained) == {
        *(f"mqformer_panoptic+semantic{kind}_seed0" for kind in ("", "_learnable", "_conditional")),
        "mqformer_things_seed0", "mqformer_things+boxes_seed0",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert (
        "mqformer_things+boxes_masks: cannot be run: no masks made from boxes yet; python -m experiments.anno" in said
    )
    text = (tmp_path / "table_mqC.md").read_text()
    line = shown(text, "and boxes with synthetic masks")
    assert (line["things mask AP (%)"], line["n"]) == ("–", "0")
    assert shown(text, "and the same boxes without masks")["things box AP (%)"] == "20.0 (+10.0)"
    where = re.search(r"--workdir=(\S+) .*--out=(\S+)\)", text)
    assert (tmp_path / "runs/mqformer_things_seed0") == Path(where[1])  # The command uses a run of the table itself.
    assert "are those of" not in text  # Of other data than the paper's.
    assert command(tmp_path, "mqC", "--gather") == 1
    assert "1 settings cannot be run" in capsys.readouterr().err

    Path(where[2]).mkdir(parents=True)
    Path(where[2], "instances.json").write_text("{}")
    trained.clear()
    assert command(tmp_path, "mqC") == 0 and trained == ["mqformer_things+boxes_masks_seed0"]
    assert shown((tmp_path / "table_mqC.md").read_text(), "and boxes with synthetic masks")["n"] == "1"
    assert "mqformer_things+boxes_masks" not in json.loads((tmp_path / REASONS).read_text())


def test_nothing_to_run_still_writes_the_table(tmp_path, trained, capsys):
    assert command(tmp_path, "mqD", scale="full") == 1 and not trained
    text = (tmp_path / "table_mqD.md").read_text()
    assert shown(text, "both")["the paper's RefCOCOg mIoU (%)"] == "62.6"
    assert "mqformer_swin_b_refcocog (no data: give --config.datasets.refcocog.root=DIR)" in text
    (tmp_path / REASONS).write_text('{"a": 3}')
    with pytest.raises(SystemExit) as stopped:
        command(tmp_path, "mqD", "--gather", scale="full")
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path / REASONS}: must hold a text")


def test_a_folder_that_is_given_must_exist(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(tmp_path, "mqE", f"--config.datasets.coco.root={tmp_path}/gone", scale="full")
    assert stopped.value.code == 2
    assert f"--config.datasets.coco.root={tmp_path}/gone: there is no such folder" in capsys.readouterr().err


def test_every_run_trains_on_its_datasets_and_is_scored_on_its_table(tmp_path):
    """At every scale with all data there; a name stands for one run."""
    for scale, places in (
        (EMBEDDED, ()),
        (SAMPLE, SAMPLE.datasets),
        (FULL, FamilyPlan(FULL, "x").members(FULL.datasets)),
    ):
        shared = tuple(f"--config.datasets.{name}.root={tmp_path}" for name in places)
        plan = FamilyPlan(scale, str(tmp_path), shared, steps=1000)
        for table in define_mqformer(scale, scale.backbones[0]).values():
            for setting in table.settings():
                config = resolve(plan.flags(setting))
                assert set(config.datasets) == set(plan.members(setting.datasets)), setting.name
                assert all(fields.root for fields in config.datasets.values())
                columns = {c.dataset for c in table.columns for row in table.rows if c.label in row.cells}
                assert columns - set(config.validation) <= {"seginw"}
            settings = list(table.settings())
            assert len({setting.name for setting in settings}) == len(settings)
            assert not any(plan.why_not(setting) for setting in settings) or scale is EMBEDDED


def test_all_numbers_of_the_paper_have_a_place():
    numbers = published("mqformer")
    tables = define_mqformer(FULL, "mqformer_swin_b").values()
    places = {
        (t.published, row.published, column.published) for t in tables for row in t.rows for column in t.columns
    }  # fmt: skip
    assert {key for key in numbers if key[0] not in ("mqF", "mqG")} <= places
    counts = {name: sum(key[0] == name for key in numbers) for name in {key[0] for key in numbers}}
    assert counts == {"mq2": 12, "mqB": 17, "mqC": 4, "mqD": 3, "mqE": 6, "mqF": 6, "mqG": 27}
    assert not any(c.published for scale in (EMBEDDED, SAMPLE) for c in scale.by_kind.values())
    # What the text says of them: captions are worth more than 4 points, the ratio is that of the configs.
    assert numbers["mqD", "RefCOCOg + COCO-syn", "RefCOCOg mIoU"] - numbers["mqD", "RefCOCOg", "RefCOCOg mIoU"] > 4


def test_a_run_on_coco_alone_sees_it_for_fifty_epochs():
    """Supplement C; with the images of Table G, as no folder is given. Others are drawn by their ratios meanwhile."""
    plan = FamilyPlan(FULL, "x")
    whole = plan.whole("mqformer_swin_b")

    def images(name, setting):
        config = resolve(plan.flags(setting))
        sizes = {key: FULL.sizes[key] * fields.ratio for key, fields in config.datasets.items()}
        return plan.steps_of(setting, whole) * config.batch_size * sizes[name] / sum(sizes.values())

    for datasets in (("coco",), ("coco", "ade"), FULL.whole):
        setting = Setting("mqformer_swin_b", datasets)
        assert images("coco", setting) == pytest.approx(50 * 100_000, rel=1e-4)
        if "ade" in datasets:
            assert images("ade", setting) == pytest.approx(50 * 20_000 * 10, rel=1e-4)
    settings = [s for table in define_mqformer(FULL, "mqformer_swin_b").values() for s in table.settings()]
    third = next(s for s in settings if s.variant == "third")
    assert dict(third.overrides)["datasets.objects365_syn.limit"] == 510_000
    ratio = plan.steps_of(third, whole) / plan.steps_of(Setting("mqformer_swin_b", third.datasets), whole)
    assert ratio == pytest.approx((324 + 300 + 510) / (324 + 300 + 1700), rel=1e-4)


def test_no_image_is_both_scored_and_trained_on(tmp_path):
    """What COCO holds out is left out of sets that were made of COCO's images; scored lists are not training lists."""
    held = tmp_path / "held_out"
    held.mkdir()
    (held / "coco_scored.json").write_text(json.dumps({"images": [{"id": 1, "file_name": "a/007.jpg"}]}))
    shared = tuple(f"--config.datasets.{name}.root=x" for name in ("coco", "referring", "boxes"))
    shared += (f"--config.datasets.coco.annotations={held}/train.json",)
    shared += (f"--config.validation.coco.annotations={held}/coco_scored.json",)
    more = leave_out(tmp_path, shared)
    assert more == [f"--config.datasets.referring.exclude={held}/not_trained_on.txt"]
    assert (held / "not_trained_on.txt").read_text() == "007.jpg\n007.png\n"
    plan = FamilyPlan(SAMPLE, str(tmp_path), (*shared, *more))
    for datasets in (("coco",), ("coco_things", "referring"), ("boxes",)):
        config = resolve(plan.flags(Setting("mqformer", datasets)))
        for name in ("coco", "coco_things", "coco_semantic"):
            assert config.validation[name].annotations == f"{held}/coco_scored.json"
        for name in {"coco", "coco_things"} & set(datasets):
            assert config.datasets[name].annotations == f"{held}/train.json"


def test_seginw_scores_are_read_from_where_they_were_printed(tmp_path, trained, capsys):
    (tmp_path / "empty").mkdir()
    roots = [f"--config.datasets.{name}.root={tmp_path / 'empty'}" for name in ("coco", "ade")]
    flags = [*roots, "--step_seconds=1"]
    assert command(tmp_path / "out", "mq2", *flags, scale="full") == 0
    text = (tmp_path / "out/table_mq2.md").read_text()
    assert shown(text, "mixed queries")["SeginW mask AP (%)"] == "not scored"
    assert shown(text, "mixed queries")["the paper's SeginW mask AP (%)"] == "38.4"
    one = tmp_path / "out/runs/mqformer_swin_b_coco+ade_seed0"
    (one / "seginw.json").write_text('{"mean_mask_ap": 0.25, "sets": 25}')
    assert command(tmp_path / "out", "mq2", "--gather", scale="full") == 0
    assert shown((tmp_path / "out/table_mq2.md").read_text(), "mixed queries")["SeginW mask AP (%)"] == "25.0"
    (one / "seginw.json").write_text('{"mean_mask_ap": "much"}')
    with pytest.raises(SystemExit):
        command(tmp_path / "out", "mq2", "--gather", scale="full")
    assert "seginw.json: mean_mask_ap must be a number within 0 and 1" in capsys.readouterr().err


def test_draws_of_table_g_add_up(tmp_path):
    table = measured.ratios(FULL, FamilyPlan(FULL, "x"))
    assert len(table) == 9 and table["share of draws (%)"].astype(float).sum() == pytest.approx(100, abs=0.5)
    assert (table["ratio"] == table["the paper's ratio"]).all()
    assert table["images"].str.endswith(" (the paper's)").all()
    line = table[table[""] == "ADE20K"].iloc[0]
    assert float(line["share of draws (%)"]) == pytest.approx(100 * 30 * 20 / 7024, abs=0.05)
    small = measured.ratios(EMBEDDED, FamilyPlan(EMBEDDED, "x"))
    shares = dict(zip(small[""].str.partition(" (for ")[0], small["share of draws (%)"].astype(float), strict=True))
    config = mqformer_quickstart.get_config("family")
    total = sum(fields.ratio for fields in config.datasets.values())
    assert shares["foreground"] == pytest.approx(100 * config.datasets.foreground.ratio / total, abs=0.05)


def test_the_size_of_a_model_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "_seconds", lambda forward: 0.5)
    assert command(tmp_path, "mqF") == 0
    with (tmp_path / "table_mqF.csv").open() as file:
        (line,) = csv.DictReader(file)
    config = mqformer_quickstart.get_config("family")
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), *dummy_batch(config))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))
    assert float(line["parameters (M)"]) == pytest.approx(count / 1e6, abs=0.05)
    assert line["images/s"].startswith("2.0 on one ")
    assert command(tmp_path / "absent", "mqF", "--gather") == 1
    tiny = dataclasses.replace(FULL, configs={"x": "configs/mqformer_r50.py:tiny"})
    theirs = measured.sizes(tiny, FamilyPlan(tiny, "unused"))
    assert theirs["images/s"].tolist()[0] == "not timed: no accelerator here"
    assert theirs["parameters (M)"].tolist()[1:] == ["219", "280", "286"]


@pytest.mark.slow
def test_a_forward_pass_is_timed(monkeypatch):
    monkeypatch.setattr(measured, "TURNS", 1)
    table = measured.sizes(EMBEDDED, FamilyPlan(EMBEDDED, "unused"))
    assert float(table["images/s"][0].split()[0]) > 0.1
