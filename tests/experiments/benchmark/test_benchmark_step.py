"""The benchmark of a step, of the matching and of MERGE, tiny: it runs, and its numbers are what they say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dataseg_jax.errors import InputError
from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import matching, merge
from experiments.benchmark.train_step import setup, step, trace

CONFIG = str(Path(__file__).parents[3] / "configs" / "r50.py")
# The same parts, as few as there can be: the time of such a test is the compiler's.
SMALL = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("r50", {CONFIG!r})
r50 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(r50)
def get_config():
    c = r50.get_config("tiny,datasets=coco")
    c.model.backbone.update(stage_sizes=(1, 1), bottleneck=False)
    c.model.mask_decoder.update(layers=1, memory_levels=1)
    c.loss_points = 0
    return c
"""


@pytest.fixture
def small(tmp_path):
    """The path of a config file."""
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def run(part, out, *more):
    assert benchmark.main([f"--part={part}", f"--out={out}", *more]) == 0
    return {row["what"]: row for row in json.loads((out / f"{part}.json").read_text())["rows"]}


def test_matching_has_a_row_for_each_solver_beside_scipy(tmp_path):
    flags = ["--batch=1", "--layers=2", "--proposals=7", "--targets", "3", "--turns=1"]
    rows = run("matching", tmp_path, *flags)
    assert len(rows) == 2 * 5
    for solver in ("hungarian", "hungarian_jit", "sinkhorn"):
        row = rows[f"structured, G=3, 1 x 2 problems: {solver}"]
        assert row["value"] > 0 and row["beside"].startswith("bare SciPy")
    assert rows["structured, G=3, 1 x 2 problems: sinkhorn's gap to the least cost"]["value"] >= -1e-4


def test_the_gap_is_zero_for_the_best_assignment_and_one_for_an_average_one():
    cost = np.array([[[0.0, 1.0], [1.0, 0.0]]])
    best = matching.bare_scipy(cost)
    assert best.tolist() == [[0, 1]] == [linear_sum_assignment(cost[0])[0].tolist()]
    assert matching.gap(cost, best, best) == 0
    assert matching.gap(cost, np.array([[1, 0]]), best) == 2  # The mean costs 1, this one 2.


def test_structured_costs_have_rivals():
    cost = matching.structured_costs(np.random.default_rng(0), 1, 1, 100, 20)[0, 0]
    assert (cost < 0.2).sum(0).mean() > 3  # Several proposals for a target.
    assert ((cost < 0.2).sum(1) <= 1).all()  # None for two.


def test_merge_is_timed_beside_a_loop_that_agrees(tmp_path, monkeypatch):
    flags = ["--problems=2", "--proposals=100", "--cells", "16", "--turns=1"]
    rows = run("merge", tmp_path, *flags)
    assert list(rows) == [f"MERGE of 2 x 100 masks of 16 cells: {what}" for what in ("forward", "with gradient")]
    # With a loop that merges nothing, the times would compare different things.
    monkeypatch.setattr(merge, "looped", lambda class_logits, mask_logits, mergeable: mask_logits)
    with pytest.raises(AssertionError, match="differ"):
        benchmark.main(["--part=merge", *flags])


def test_phases_go_by_the_names_in_the_program():
    named = {
        "jit(train_step)/jvp(Segmenter)/backbone/mul": "forward",
        "jit(train_step)/transpose(jvp(Segmenter))/backbone/mul": "backward",
        "jit(train_step)/jvp(vmap(merge))/max": "merge",
        "jit(train_step)/jvp(vmap())/merge/max": "merge",
        "jit(train_step)/jvp(vmap())/cost/dot_general": "cost",
        "jit(train_step)/jvp()/match/pure_callback": "callback and solver",
        "jit(train_step)/jvp(vmap())/reduce_sum": "loss",
        "jit(train_step)/sqrt": "optimiser",
        "": trace.UNNAMED,
    }
    assert {name: trace.phase_of(name) for name in named} == named


def test_a_fusion_without_a_name_has_that_of_its_parts():
    program = """
%fused_computation.1 (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %add.1 = f32[2]{0} add(%p, %p), metadata={op_name="jit(f)/cost/add"}
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %q = f32[2]{0} parameter(0), metadata={op_name="x"}
  %fusion.1 = f32[2]{0} fusion(%q), kind=kLoop, calls=%fused_computation.1
  ROOT %sin.1 = f32[2]{0} sine(%fusion.1), metadata={op_name="jit(f)/sin"}
}
"""
    names = trace.names_of(program)
    assert (names["fusion.1"], names["sin.1"]) == ("jit(f)/cost/add", "jit(f)/sin")


def test_what_runs_inside_of_an_operation_is_not_counted_twice():
    thread = [(0, 10e9, "while"), (1e9, 3e9, "dot"), (4e9, 8e9, "dot"), (5e9, 6e9, "copy"), (10e9, 11e9, "end")]
    assert trace.own_seconds(thread) == {"while": 4, "dot": 5, "copy": 1, "end": 1}


@pytest.mark.slow
def test_a_tiny_step_without_the_reference(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    trace = tmp_path / "trace"
    flags = [f"--config={small}", "--side=32", "--batch=1", "--targets=2", "--turns=1", f"--profile={trace}"]
    rows = run("step", tmp_path, *flags)
    assert "so the reference was not run" in capsys.readouterr().err
    assert list(trace.rglob("*.xplane.pb"))
    shares = {what.split(": ")[1]: row["value"] for what, row in rows.items() if what.startswith("of the train step")}
    assert sum(shares.values()) == pytest.approx(100)
    assert {"forward", "backward", "optimiser", "loss", "cost", "merge", "callback and solver"} <= set(shares)
    assert rows["train step"]["beside"] == "not run" and rows["train step"]["ratio"] is None
    assert rows["FLOPs of the train step"]["value"] > 0 and rows["memory of the step by XLA's plan"]["value"] > 0
    # Image 3 x 32 x 32, map 32 x 32, 6 slots of (label, box, valid), size 2, task, image id.
    size = 4 * 32 * 32 + 6 * (4 + 16 + 1) + 8 + 4 + 4
    assert rows["to the device, per image"]["value"] == pytest.approx(size / 2**20)


def test_the_least_of_several_turns_after_one_to_warm_up():
    calls = []
    least = step.in_turns({"thing": lambda: calls.append(1)}, 2)
    assert len(calls) == 3 and 0 <= least["thing"][0] < 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--part=step", "--config=none.py"], "there is no file 'none.py'"),
        (["--part=step", f"--config={CONFIG}:huge"], "argument 'huge'"),
        (["--part=step", f"--config={CONFIG}:tiny", "--targets=7", "--side=32"], "it must be 1 to 6"),
        (["--part=step", f"--config={CONFIG}:tiny", "--turns=0"], "--turns=0"),
        (["--part=matching", "--batch=0"], "--batch=0"),
        (["--part=matching", "--targets", "0"], "--targets=0"),
        (["--part=merge", "--cells", "0"], "--cells=0"),
    ],
)
def test_bad_flags_are_told_in_one_line(flags, message, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert benchmark.main(flags) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_vocabulary_that_is_only_in_files():
    config = setup.load_config(f"{CONFIG}:tiny")
    config.datasets.coco.vocabulary = ""
    with pytest.raises(InputError, match="needs a bundled one"):
        setup.make_step(config, 32, 1, 2)


@pytest.mark.slow
def test_a_tiny_step_beside_the_reference(small, tmp_path, monkeypatch):
    from experiments.benchmark.train_step import reference

    steps = reference.steps
    backbone = dict(embedding_size=8, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1])
    monkeypatch.setattr(reference, "steps", lambda *sizes: steps(*sizes, backbone=backbone))
    rows = run("step", tmp_path, f"--config={small}", "--side=64", "--batch=1", "--targets=2", "--turns=1")
    for what in ("train step", "forward"):
        theirs = float(rows[what]["beside"].split()[-3 if "processor" in rows[what]["beside"] else -2])
        assert rows[what]["ratio"] == pytest.approx(theirs / rows[what]["value"], rel=0.02)
