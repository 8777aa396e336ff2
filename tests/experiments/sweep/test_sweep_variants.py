"""Variants of a sweep: their names and configs, what is refused, and what their folders record."""

import json
import uuid

import pytest

from configs import sweeping
from dataseg_jax.errors import InputError
from experiments.sweep.variant_state import finished, save_variants
from experiments.sweep.variants import read

# As ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SMOKE = "configs/quickstart.py:smoke"


def sweep_file(tmp_path, body, head="c.steps = 3"):
    path = tmp_path / f"config_{uuid.uuid4().hex}.py"  # Python would take a file changed within a second for the same.
    path.write_text(
        f"from configs import quickstart, sweeping\n\ndef get_config():\n    c = quickstart.get_config('smoke')\n"
        f"    {head}\n    return c\n\ndef sweep():\n    {body}\n"
    )
    return str(path)


def test_grid_and_paired():
    assert list(sweeping.grid({"a": (1, 2), "b": "xy"})) == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"},
    ]  # fmt: skip
    assert list(sweeping.paired({"a": (1, 2), "b": "xy"})) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    with pytest.raises(ValueError, match="zip"):
        list(sweeping.paired({"a": (1, 2), "b": "x"}))


def test_quickstart_has_six():
    variants = read(SMOKE, "out", ["--config.steps=5"])
    assert [v.name for v in variants] == [f"{m}_seed{s}" for m in ("merge", "no_merge") for s in range(3)]
    for i, variant in enumerate(variants):
        assert variant.index == i and str(variant.workdir) == f"out/{variant.name}"
        assert variant.config["steps"] == 5 and variant.config["seed"] == i % 3
        assert (variant.config["merge_warmup_steps"] > 5) == (i > 2)
        assert variant.arguments[:2] == (f"--config={SMOKE}", "--config.steps=5")


def test_values_of_every_type_arrive(tmp_path):
    overrides = {"optim.milestones": (0.5, 0.75), "eval.upper_bound": True, "optim.learning_rate": 1e-5,
                 "matcher": "sinkhorn", "batch_size": 2, "model.backbone.stage_sizes": [1, 1, 1]}  # fmt: skip
    variant = read(sweep_file(tmp_path, f"yield {overrides!r}"), "out")[0]
    assert variant.config["optim"]["milestones"] == [0.5, 0.75]
    assert variant.config["eval"]["upper_bound"] is True
    assert variant.config["optim"]["learning_rate"] == 1e-5
    assert variant.config["model"]["backbone"]["stage_sizes"] == [1, 1, 1]


def test_names_are_the_shortest_that_differ(tmp_path):
    body = (
        "yield from sweeping.grid({'datasets.boxes.ratio': (1.0,), 'datasets.semantic.ratio': (2.0,), "
        "'optim.milestones': ((0.5, 0.75),), 'text_encoder': ('a/b c',)})"
    )
    names = [v.name for v in read(sweep_file(tmp_path, body), "out")]
    assert names == ["boxes.ratio=1.0_semantic.ratio=2.0_milestones=0.5-0.75_text_encoder=a-b-c"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("yield {'stepz': 3}", "variant stepz=3: config: .*stepz"),
        ("yield {'steps': 'many'}", "variant steps=many: .*invalid literal"),
        ("yield {'steps': 2.0}", "variant steps=2.0: .*2.0"),
        ("yield {'optim': {'clip': 1.0}}", "variant optim"),
        ("yield {'matcher': 'greedy'}", "variant matcher=greedy: config.matcher='greedy': it is one of"),
        ("yield {'seed': 1}; yield {'seed': 1}", "several variants are named seed=1"),
        ("yield {'name': '../up', 'seed': 1}", "'../up' cannot name a folder"),
        ("yield {'name': 'sweep.md', 'seed': 1}", "'sweep.md' cannot name a folder"),
        ("yield from ()", "yields nothing"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path, body, said):
    with pytest.raises(InputError, match=said) as caught:
        read(sweep_file(tmp_path, body), "out")
    assert "\n" not in str(caught.value)


def test_what_the_command_line_gets_wrong_is_refused(tmp_path):
    path = sweep_file(tmp_path, "yield {'optim.clip': 1.0}")
    for shared in ("--config.optim.clip=2.0", "--config.optim=2"):
        with pytest.raises(InputError, match=f"^({shared}: the sweep itself sets|.*config.optim)"):
            read(path, "out", [shared])
    with pytest.raises(InputError, match="^config: .*stepz"):
        read(path, "out", ["--config.stepz=1"])
    with pytest.raises(InputError, match="nowhere.py: there is no such file"):
        read("nowhere.py:smoke", "out")
    with pytest.raises(InputError, match="configs/base.py: has no sweep()"):
        read("configs/base.py", "out", [])
    with pytest.raises(InputError, match="variant seed=1: config.validation is empty"):
        read(sweep_file(tmp_path, "yield {'seed': 1}", "c.validation = {}"), "out")


def test_a_name_keeps_its_values(tmp_path):
    out = tmp_path / "out"
    variants = read(sweep_file(tmp_path, "yield {'name': 'a', 'seed': 1}; yield {'name': 'b', 'seed': 2}"), out)
    save_variants(variants)
    save_variants(variants)
    before = (out / "a" / "variant.json").read_text()

    changed = read(sweep_file(tmp_path, "yield {'name': 'c', 'seed': 5}; yield {'name': 'b', 'seed': 3}"), out)
    with pytest.raises(InputError, match="b: was begun with other values: seed was 2 and is now 3; give"):
        save_variants(changed)
    assert not (out / "c").exists()
    # So is a value that the file itself or a flag for all of them gives.
    with pytest.raises(InputError, match="a: .* steps was 3 and is now 4"):
        save_variants(read(sweep_file(tmp_path, "yield {'name': 'a', 'seed': 1}", "c.steps = 4"), out))
    with pytest.raises(InputError, match="a: .*the overrides were {'seed': 1} and are now {'seed': 1, 'fsdp': 1}"):
        save_variants(read(sweep_file(tmp_path, "yield {'name': 'a', 'seed': 1, 'fsdp': 1}"), out))
    assert (out / "a" / "variant.json").read_text() == before

    (out / "c").mkdir()
    (out / "c" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="c: holds files, but no variant"):
        save_variants(changed[:1])


def test_a_field_that_is_newer_than_a_run_does_not_end_its_sweep(tmp_path):
    variants = read(sweep_file(tmp_path, "yield {'seed': 1}"), tmp_path / "out")
    save_variants(variants)
    path = variants[0].workdir / "variant.json"
    content = json.loads(path.read_text())
    del content["config"]["max_targets"]
    path.write_text(json.dumps(content))
    save_variants(variants)


def test_finished_is_the_last_step_scored(tmp_path):
    (variant,) = read(sweep_file(tmp_path, "yield {'seed': 1}"), tmp_path / "out")
    assert not finished(variant.workdir)
    save_variants([variant])
    results = variant.workdir / "results.json"
    scored = '{"step": %d, "scores": {}}'
    for text, expected in ((scored % 2, False), ('{"step": 3', False), (scored % 3, True)):
        results.write_text(text)
        assert finished(variant.workdir) == expected
