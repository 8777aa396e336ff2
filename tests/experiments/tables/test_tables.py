"""Tables of runs that they share: what is started, resumed and written; a stub replaces training."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from data.shapes import Counts, write_world
from experiments.sweep import local
from experiments.sweep.variant_state import finished
from experiments.sweep.variants import resolve
from experiments.tables.__main__ import main
from experiments.tables.definitions import define_tables
from experiments.tables.design import Setting
from experiments.tables.published import published
from experiments.tables.runs import Plan, steps_of
from experiments.tables.scales import EMBEDDED, FULL, SAMPLE
from tests.experiments.sweep import sweep_stub  # Hushes submitit, too.

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# Instead of training: scores that differ between runs, datasets and seeds. Below --out, fail_NAME makes a run fail, and
# `unscored` lists datasets that get no score.
PROGRAM = """
import json, sys
from pathlib import Path

METRICS = {"panoptic": "pq", "semantic": "miou", "boxes": "mask_ap", "instance": "mask_ap"}

def train(workdir):
    out, unscored = workdir.parents[1], []
    with (workdir / "starts.txt").open("a") as file:
        file.write("start\\n")
    if (out / f"fail_{workdir.name}").exists():
        sys.exit("error: fails on purpose")
    if (out / "unscored").exists():
        unscored = (out / "unscored").read_text().split()
    config = json.loads((workdir / "variant.json").read_text())["config"]
    base = len(config["datasets"]) / 10 + 0.01 * config["seed"] ** 2
    scores = {
        name: {METRICS[d["task"]]: base + 0.001 * len(name)}
        for name, d in config["validation"].items() if name not in unscored
    }
    (workdir / "results.json").write_text(json.dumps({"step": config["steps"], "scores": scores}))

if __name__ == "__main__":
    train(Path(dict(flag[2:].split("=", 1) for flag in sys.argv[1:])["workdir"]))
"""


@pytest.fixture
def run(tmp_path):
    """A command of the embedded scale with the program in place of training: (its function, its folder)."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    out = tmp_path / "out"

    def call(table, *more):
        flags = [f"--table={table}", "--scale=embedded", f"--out={out}", "--seeds=0,1", "--steps=750"]
        return main([*flags, f"--program={sys.executable} {program}", *more])

    return call, out


@pytest.fixture
def here(monkeypatch):
    """The same program, but in this process: submitit takes a second a run."""
    program = {"__name__": "program"}
    exec(PROGRAM, program)

    def train(variants, *others):
        for variant in variants:
            if not finished(variant.workdir):
                program["train"](variant.workdir)

    monkeypatch.setattr(local, "run", train)


def starts(out):
    return {path.parent.name: len(path.read_text().splitlines()) for path in out.glob("runs/*/starts.txt")}


def shown(text, row):
    """Heading -> cell of a row in Markdown."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    return dict(zip(lines[0], next(line for line in lines if line[0] == row), strict=True))


def cells(out, table):
    with (out / f"table_{table}.csv").open() as file:
        return {(line["row"], line["column"]): line for line in csv.DictReader(file)}


def test_runs_are_shared_and_resumed_and_missing_ones_are_listed(run, capsys):
    call, out = run
    out.mkdir()
    (out / "fail_resnet_all_seed1").write_text("")
    assert call("5", "--parallel=4") == 1
    said = capsys.readouterr().out
    assert "\n4 runs, 3,000 steps\n0 of 4 runs finished, 0 of 3,000 steps\n" in said
    both = {f"resnet_all{variant}_seed{seed}" for variant in ("", "_dataset_specific") for seed in (0, 1)}
    assert set(starts(out)) == both
    text = (out / "table_5.md").read_text()
    assert "Missing: resnet_all_seed1 (stopped: error: fails on purpose)." in text
    line = shown(text, "shared")
    assert (line["semantic mIoU (%)"], line["boxes mask AP (%)"], line["n"]) == ("30.8", "30.5", "1 of 2")

    (out / "fail_resnet_all_seed1").unlink()
    assert call("merge,5", "--parallel=4") == 0
    others = both - {"resnet_all_seed1"} | {f"resnet_all_no_merge_seed{seed}" for seed in (0, 1)}
    assert starts(out) == dict.fromkeys(others, 1) | {"resnet_all_seed1": 2}  # Nothing was trained twice.
    line = shown((out / "table_5.md").read_text(), "shared")
    assert (line["semantic mIoU (%)"], line["boxes mask AP (%)"], line["n"]) == ("31.3 ± 0.7", "31.0 ± 0.7", "2")


def test_tables_share_runs_and_mark_those_that_were_never_begun(run, here, capsys):
    call, out = run
    assert call("1") == 0
    names = ("boxes", "panoptic", "semantic", "semantic_as_many_steps", "all")
    assert set(starts(out)) == {f"resnet_{name}_seed{seed}" for name in names for seed in (0, 1)}
    assert call("2", "--gather") == 1  # Its pairs of datasets are missing.
    said = capsys.readouterr().out
    assert "resnet_panoptic+boxes (not begun)" in said
    line = shown(said, "panoptic masks + boxes")
    assert (line["panoptic PQ (%)"], line["semantic mIoU (%)"], line["n"]) == ("–", "–", "0")
    assert call("2") == 0 and set(starts(out).values()) == {1} and len(starts(out)) == 10 + 6
    said = capsys.readouterr().out
    assert shown(said, "panoptic masks + semantic masks + boxes")["panoptic PQ (%)"] == "31.3 ± 0.7 (+20.0 ± 0.0)"
    line = shown(said, "semantic masks + boxes")
    assert line["boxes mask AP (%)"] == "21.0 ± 0.7 (+10.0 ± 0.0)"
    assert line["panoptic PQ (%)"] == "21.3 ± 0.7"  # Not trained on: transfer, compared with nothing.


def test_mean_spread_and_difference_are_numpys(run, here):
    call, out = run
    assert call("1", "--seeds=0,1,3") == 0
    alone = out / "runs/resnet_boxes_seed3/results.json"  # Else all seeds would differ by the same.
    alone.write_text(alone.read_text().replace('"boxes": {"mask_ap": 0.195', '"boxes": {"mask_ap": 0.135'))
    assert call("1", "--gather") == 0
    cell = cells(out, "1")["resnet, co-trained", "boxes mask AP"]
    seeds = [float(cell[f"seed_{seed}"]) for seed in (0, 1, 3)]
    runs = [json.loads((out / f"runs/resnet_all_seed{s}/results.json").read_text())["scores"] for s in (0, 1, 3)]
    np.testing.assert_allclose(seeds, [100 * scores["boxes"]["mask_ap"] for scores in runs])
    np.testing.assert_allclose(float(cell["mean"]), np.mean(seeds))
    np.testing.assert_allclose(float(cell["standard_deviation"]), np.std(seeds, ddof=1))
    np.testing.assert_allclose(float(cell["difference"]), np.mean([20, 20, 26]))
    np.testing.assert_allclose(float(cell["difference_standard_deviation"]), np.std([20, 20, 26], ddof=1))
    assert cell["n"] == "3" and cell["unit"] == "%" and cell["direction"] == "higher is better"
    line = shown((out / "table_1.md").read_text(), "resnet, co-trained")
    assert line["boxes mask AP (%)"] == f"{np.mean(seeds):.1f} ± {np.std(seeds, ddof=1):.1f} (+22.0 ± 3.5)"
    assert (out / "table_1.png").stat().st_size > 10_000


def test_a_finished_run_that_lacks_a_score_is_scored_again(run, here, capsys):
    call, out = run
    out.mkdir()
    (out / "unscored").write_text("synonyms")
    assert call("3", "--seeds=0") == 0
    assert "not scored" in (out / "table_3.md").read_text()
    (out / "unscored").unlink()
    capsys.readouterr()
    assert call("3", "--seeds=0") == 0
    assert "resnet_all_seed0: is scored again, for synonyms\n" in capsys.readouterr().out
    assert "not scored" not in (out / "table_3.md").read_text()


def test_separate_sees_as_many_images_as_cotraining_draws_of_its_dataset():
    whole = resolve(["--config=configs/embedded.py"])
    plan = Plan(EMBEDDED, "unused")
    settings = list(define_tables(EMBEDDED, ("resnet",))["2"].settings())
    assert len(settings) == 7
    drawn = {name: whole.steps * d.ratio / sum(d.ratio for d in whole.datasets.values()) for name, d in
             whole.datasets.items()}  # fmt: skip
    for variant in plan.variants(settings, (0,)):
        trained = variant.config["datasets"]
        mine = variant.config["steps"] * variant.config["batch_size"]
        ratios = {name: d["ratio"] for name, d in trained.items()}
        for name in trained:
            assert mine * ratios[name] / sum(ratios.values()) == drawn[name] * whole.batch_size
    longer = Setting("resnet", ("semantic",), variant="long", as_many_steps=True)
    assert steps_of(longer, whole) == whole.steps
    assert steps_of(Setting("resnet", ("semantic",)), whole, 75) == 10


def test_ratios_that_multiply_the_number_of_images_are_counted_so(tmp_path):
    """As many draws of each dataset as in co-training, whose shares are ratio x images."""
    write_world(tmp_path / "world", counts=Counts(panoptic=8, semantic=4, boxes=4, val=1), workers=1)
    names = {"panoptic": 2.0, "semantic": 1.0, "boxes": 3.0}
    (tmp_path / "out.txt").write_text("3\n1\n")  # Left out of the boxes.
    flags = [f"--config.datasets.{name}.ratio={ratio}" for name, ratio in names.items()]
    flags += [f"--config.datasets.{name}.ratio_of_size=True" for name in names]
    flags += [f"--config.datasets.{name}.root={tmp_path}/world/{name}/train" for name in names]
    flags += [f"--config.datasets.boxes.exclude={tmp_path}/out.txt", "--config.datasets.semantic.limit=3"]
    settings = [Setting("resnet"), *(Setting("resnet", (name,)) for name in names)]
    steps = [v.config["steps"] for v in Plan(EMBEDDED, "unused", tuple(flags), 2500).variants(settings, (0,))]
    draws = [2 * 8, 1 * 3, 3 * 2]  # Ratio times the images that are left.
    assert steps == [2500, *(2500 * n // sum(draws) for n in draws)]
    in_the_world = [flag for flag in flags if "root" not in flag and "exclude" not in flag]
    steps = [v.config["steps"] for v in Plan(EMBEDDED, "x", tuple(in_the_world), 1401_700).variants(settings, (0,))]
    draws = [2 * 4000, 1 * 3, 3 * 2000]  # Not written yet.
    assert steps == [1401_700, *(round(1401_700 * n / sum(draws)) for n in draws)]


def test_the_first_steps_without_merge_are_the_same_share_of_every_run():
    without_merge = next(iter(define_tables(EMBEDDED, ("resnet",))["merge"].rows[1].cells.values())).setting
    settings = [Setting("resnet"), Setting("resnet", ("semantic",)), without_merge]
    variants = Plan(EMBEDDED, "unused", ("--config.merge_warmup_steps=2100",), 750).variants(settings, (0,))
    assert [variant.config["steps"] for variant in variants] == [750, 100, 750]
    assert [variant.config["merge_warmup_steps"] for variant in variants[:2]] == [375, 50]
    assert variants[2].config["merge_warmup_steps"] > 750  # Never on.


def test_every_run_is_scored_on_all_that_its_table_shows():
    for variant in Plan(EMBEDDED, "unused").variants([Setting("resnet", ("boxes",))], (0,)):
        for table in define_tables(EMBEDDED, ("resnet",)).values():
            assert {column.dataset for column in table.columns} <= set(variant.config["validation"])


def test_all_numbers_of_the_paper_have_a_place_in_a_table():
    numbers = published()
    counts = {table: sum(key[0] == table for key in numbers) for table in "12345"}
    assert counts == {"1": 20, "2": 28, "3": 28, "4": 12, "5": 8}
    # Differences that the paper prints beside its numbers.
    for one, other, column, printed in [
        ("ResNet50", "ResNet50", "ADE semantic mIoU", 6.1), ("ViTDet-B", "ViTDet-B", "ADE panoptic PQ", 5.4),
        ("ResNet50", "ResNet50", "Objects365 instance mask AP", 2.0), ("ViTDet-B", "ViTDet-B", "COCO panoptic PQ", 0.9),
    ]:  # fmt: skip
        apart = numbers["1", f"{one} DaTaSeg", column] - numbers["1", f"{other} Separate", column]
        assert round(apart, 1) == printed
    assert round(numbers["5", "+D-S modules", "Objects365 instance mask AP"] - 14.3, 1) == -3.4
    for column in ("ADE semantic mIoU", "COCO panoptic PQ", "ADE panoptic PQ", "Objects365 instance mask AP"):
        same = [numbers["1", "ResNet50 DaTaSeg", column], numbers["2", "ADE+COCO+O365", column],
                numbers["4", "100 queries", column], numbers["5", "DaTaSeg", column]]  # fmt: skip
        assert len(set(same)) == 1
    every = define_tables(FULL, FULL.backbones)
    shown = {
        (table.published, row.published, column.published)
        for table in every.values() for row in table.rows for column in table.columns
    }  # fmt: skip
    assert set(numbers) <= shown  # Each has its place in a table.
    for scale in (EMBEDDED, SAMPLE):
        for table in define_tables(scale, scale.backbones).values():
            assert not any(row.published for row in table.rows if table.name in "123")
            assert not any(column.published for column in table.columns)


def test_what_is_wrong_is_one_line(run, here, capsys, tmp_path):
    call, out = run

    def said(*flags):
        with pytest.raises(SystemExit) as stopped:
            call("1", *flags)
        assert stopped.value.code == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line.removeprefix("error: ")

    assert said("--table=6").startswith(
        "--table=6: give some of 1, 2, 3, 4, 5, merge, batches, matchers, text, mq2, mqB,"
    )
    assert said("--scale=huge") == "--scale=huge: give one of embedded, sample, full\n"
    assert said("--seeds=0,x").startswith("--seeds=0,x: give whole numbers")
    assert said("--backbones=vgg").startswith("--backbones=vgg: give some of resnet, vitdet")
    assert said("--gather").startswith(f"{out}: no runs below it")
    assert said("--hours=2") == "--hours is no flag of --executor=local\n"
    assert said("--config.seed=3").endswith("give --seeds\n")
    assert said("steps") == "unknown argument 'steps'; fields of the config are set by --config.x.y=z\n"
    coco = f"--config.datasets.coco.root={tmp_path}"
    assert said("--scale=full", coco) == (
        "the folders of some datasets are missing; give --config.datasets.ade.root=DIR "
        "--config.datasets.objects365.root=DIR\n"
    )
    gone = f"--config.datasets.camvid.root={tmp_path}/gone"
    assert f"{tmp_path}/gone: there is no such folder" in said(
        "--scale=sample", coco, gone, f"--config.datasets.boxes.root={tmp_path}"
    )
    assert not out.exists()
    assert call("1", "--seeds=0") == 0
    capsys.readouterr()
    assert "resnet_semantic_seed0: was begun with other values: steps was 100 and is now 200" in said("--steps=1500")


def test_the_full_scale_prints_its_cost_first_and_starts_nothing(tmp_path, capsys):
    for name in FULL.roots:
        (tmp_path / name).mkdir()
    roots = [f"--config.datasets.{name}.root={tmp_path / name}" for name in FULL.roots]
    flags = ["--table=1,5", "--scale=full", f"--out={tmp_path / 'out'}", "--dry_run", *roots]
    assert main([*flags, "--step_seconds=r50:2,vitdet_b:6,vitdet_l:10"]) == 0
    said = capsys.readouterr().out
    hours = 368_750 * 2 * (1 + 1 + 1) / 3600 + 184_375 * (6 * 2 + 10) / 3600  # Separate models add up to one.
    assert "GPU hours of training" in said and "\n10 runs, " in said
    total = float(said.split(" steps, ")[-1].split(" GPU hours")[0].replace(",", ""))
    assert total == pytest.approx(hours, rel=1e-3)
    assert "a step of vitdet_b: 6 GPU seconds, as given by --step_seconds" in said
    line = next(line for line in said.splitlines() if line.startswith("r50_objects365_seed0: --config"))
    assert "configs/r50.py:score_all,datasets=objects365 " in line  # Scored on all, the others' folders included.
    assert f"--config.validation.ade.root={tmp_path / 'ade'}" in line and "datasets.ade.root" not in line
    assert not (tmp_path / "out").exists()


def test_the_papers_numbers_have_columns_of_their_own(run, here, tmp_path):
    call, out = run
    flags = [f"--config.datasets.{name}.root={tmp_path}" for name in FULL.roots]
    transfer = [f"--config.validation.{name}.root={tmp_path}" for name in FULL.transfer_roots]
    every = [*flags, *transfer, "--seeds=0,1", "--backbones=r50,vitdet_l", "--step_seconds=1"]
    assert call("1,3,5", "--scale=full", *every) == 0
    text = (out / "table_1.md").read_text()
    for row, measured, printed in (("r50", "30.8 ± 0.7 (+20.0 ± 0.0)", "48.1"), ("vitdet_l", "30.8 ± 0.7", "54.0")):
        line = shown(text, f"{row}, co-trained")
        assert (line["ADE semantic mIoU (%)"], line["the paper's ADE semantic mIoU (%)"]) == (measured, printed)
    assert "vitdet_l, separate" not in text
    assert "are those of Gu et al. (NeurIPS 2023), Table 1, not of these runs." in text
    cell = cells(out, "1")["r50, co-trained", "ADE semantic mIoU"]
    assert (cell["the_papers"], cell["seed_0"]) == ("48.1", "30.3")
    third = cells(out, "3")
    assert third["the paper's row: ODISE UNet+M2F", "Cityscapes PQ"]["the_papers"] == "23.9"
    assert third["the paper's row: ODISE UNet+M2F", "Cityscapes PQ"]["n"] == "0"
    scored = json.loads((out / "runs/r50_all_dataset_specific_seed0/variant.json").read_text())["config"]["validation"]
    assert "cityscapes" not in scored and "ade_panoptic" in scored  # Its modules serve no other words.


@pytest.mark.slow
def test_table_1_by_the_real_program(tmp_path):
    """At smoke size, and again: nothing is trained twice, and every score of the table is there."""
    out = tmp_path / "out"
    sizes = {"panoptic": 32, "semantic": 16, "boxes": 32, "val": 8}
    decoder = dict(width=16, ffn=32, layers=1, memory_levels=1)
    flags = [f"--config.world.counts.{name}={count}" for name, count in sizes.items()]
    flags += [f"--config.model.mask_decoder.{name}={value}" for name, value in decoder.items()]
    flags += ["--config.model.pixel_decoder.width=16", "--config.model.pixel_decoder.ffn=32", "--config.batch_size=4"]
    flags += ["--config.model.backbone.stage_sizes=(1,1,1)", "--config.model.backbone.width=8"]
    flags += ["--config.matcher=hungarian_jit", "--config.eval.images=0", "--config.eval.extremes=0"]
    command = [sys.executable, "-m", "experiments.tables", "--table=1", "--scale=embedded", f"--out={out}", "--seeds=0"]
    first = subprocess.run([*command, "--steps=15", *flags], capture_output=True, text=True, cwd=sweep_stub.ROOT)
    assert first.returncode == 0, first.stderr
    steps = {path.parent.name: json.loads(path.read_text())["step"] for path in out.glob("runs/*/results.json")}
    assert steps == {
        "resnet_semantic_seed0": 2, "resnet_panoptic_seed0": 10, "resnet_boxes_seed0": 3,
        "resnet_semantic_as_many_steps_seed0": 15, "resnet_all_seed0": 15,
    }  # fmt: skip
    table = cells(out, "1")
    scored = len(EMBEDDED.columns)
    assert scored < len(table) <= 2 * scored + 2 and all(line["n"] == "1" and line["mean"] for line in table.values())
    assert table["resnet, separate", "semantic mIoU"]["mean"] != table["resnet, co-trained", "semantic mIoU"]["mean"]
    assert (out / "table_1.png").exists() and (out / "world" / "world.json").exists()
    again = subprocess.run([*command, "--steps=15", *flags], capture_output=True, text=True, cwd=sweep_stub.ROOT)
    assert again.returncode == 0 and again.stdout.count("finished already") == 5
