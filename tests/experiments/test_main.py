"""The real program: what it writes, and how bad input stops it. `tests/kills` kills it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from tests.conftest import TINY_RUN

# Without a callback, which would have the step compiled anew by every start.
TINY = (*TINY_RUN, "--config.matcher=hungarian_jit")


def command(workdir, *more):
    return [sys.executable, "-m", "experiments.main", *TINY, f"--workdir={workdir}", *map(str, more)]


def run(workdir, *more):
    return subprocess.run(command(workdir, *more), capture_output=True, text=True, timeout=300)


@pytest.fixture
def world(trained_run):
    """A small world; a test that changes it takes a copy, `broken`."""
    return trained_run[1]


@pytest.fixture
def broken(world, tmp_path):
    """A copy of the world to damage; `roots` makes a run use it."""
    root = tmp_path / "world"
    shutil.copytree(world, root)
    return root


def roots(root):
    return [f"--config.{group}.{name}.root={root}/{name}/{split}" for name in ("panoptic", "semantic", "boxes")
            for group, split in (("datasets", "train"), ("validation", "val"))]  # fmt: skip


def losses(workdir):
    return (workdir / "losses.csv").read_text().splitlines()


def test_trains_evaluates_and_predicts(trained_run):
    """The whole program once, with the default matcher: table, results, overlays, checkpoint, and its predictor."""
    tmp_path, _ = trained_run
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["scores"]) == {"panoptic", "semantic", "boxes", "trained_words", "synonyms", "unrelated"}
    assert 0 <= results["scores"]["panoptic"]["pq"] <= 1
    for name in results["scores"]:
        assert cv2.imread(str(tmp_path / "overlays" / f"{name}.png")) is not None

    from dataseg_jax import Predictor

    predictor = Predictor.from_checkpoint(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    result = predictor(image, "shapes_semantic", task="semantic")
    assert result.categories.shape == (50, 90)
    assert set(np.unique(result.categories)) <= set(range(8))


def bad_label(root):
    path = sorted((root / "semantic" / "train" / "labels").iterdir())[0]
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    label[0, 0] = 99
    cv2.imwrite(str(path), label)
    return path.name


def no_folder(root):
    shutil.rmtree(root / "semantic" / "train")
    return str(root / "semantic" / "train")


# Of the others, `tests/data` has the rules and `tests/data/test_hostile_datasets.py` the program.
@pytest.mark.parametrize("damage", [bad_label, no_folder])
def test_damaged_dataset_is_one_line_before_training(broken, tmp_path, damage):
    named = damage(broken)
    done = run(tmp_path / "run", *roots(broken))
    assert_one_line(done, named)
    assert not (tmp_path / "run" / "losses.csv").exists()


def test_unknown_config_key(tmp_path):
    assert_one_line(run(tmp_path, "--config.model.mask_decoder.querys=3"), "querys")
    assert_one_line(run(tmp_path, "--config.nothing=3"), "nothing")


def test_checkpoint_of_another_model(trained_run, world, tmp_path):
    shutil.copytree(trained_run[0] / "checkpoints", tmp_path / "checkpoints")
    before = sorted(os.listdir(tmp_path / "checkpoints"))
    done = run(tmp_path, "--config.steps=4", "--config.model.mask_decoder.queries=7", f"--config.world.root={world}")
    assert_one_line(done, "model.mask_decoder.queries is 20 there and 7 here")
    assert sorted(os.listdir(tmp_path / "checkpoints")) == before


@pytest.mark.slow
def test_fine_tuning_starts_from_the_given_weights(trained_run, world, tmp_path):
    first, second = trained_run[0], tmp_path / "second"
    flags = "--config.steps=3", "--mode=train", f"--config.world.root={world}"
    still = run(second, *flags, f"--config.init_from={first}", "--config.optim.learning_rate=0.0", "--config.seed=1")
    assert still.returncode == 0, still.stderr

    from dataseg_jax.io.checkpoint import load_checkpoint

    loaded, started = (load_checkpoint(workdir).params for workdir in (first, second))
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, started))
    other = run(tmp_path / "third", *flags, f"--config.init_from={first}", "--config.model.mask_decoder.queries=7")
    assert_one_line(other, "mask_decoder/query_features is (20, 16), not (7, 16)")


def test_a_broken_callback_falls_back_with_one_line(monkeypatch, capsys):
    from dataseg_jax.objective import solvers
    from dataseg_jax.objective.layers import ObjectiveConfig
    from experiments.runtime.start.fresh import with_working_solver

    assert with_working_solver(ObjectiveConfig()).solver == "hungarian"
    monkeypatch.setattr(solvers, "_solve_on_host", lambda *operands: np.zeros(operands[1].shape, np.int32))
    jax.clear_caches()
    assert with_working_solver(ObjectiveConfig()).solver == "hungarian_jit"
    printed = capsys.readouterr().out
    assert "matcher=hungarian does not work here" in printed and printed.count("\n") == 1


def only_boxes(root):
    """Flags of a run that draws the boxes alone, and looks at one image of each dataset before it begins."""
    ratios = "--config.datasets.panoptic.ratio=0.0", "--config.datasets.semantic.ratio=0.0"
    return ("--mode=train", "--config.input.check=1", *ratios, *roots(root))


@pytest.mark.slow
def test_unreadable_images_are_replaced_until_there_are_too_many(broken, tmp_path):
    from data.pipeline.draws import EpochOrder
    from data.pipeline.randomness import dataset_key

    index = EpochOrder(dataset_key(0, "boxes"), 32)[5 * 4 + 1]  # Of the sixth batch of four.
    image = sorted((broken / "boxes" / "train" / "images").iterdir())[index]
    content = image.read_bytes()
    flags = (*only_boxes(broken), "--config.steps=12", "--config.log.checkpoint_every=2")
    clean, tolerant, strict = (tmp_path / name for name in ("clean", "tolerant", "strict"))
    assert run(clean, *flags).returncode == 0

    image.write_bytes(content[: len(content) // 2])
    done = run(tolerant, *flags, "--config.input.max_unreadable=1")
    assert done.returncode == 0, done.stderr
    printed = [line for line in done.stdout.splitlines() if image.name in line]
    assert len(printed) == 1 and printed[0].startswith("unreadable, replaced (1 of at most 1): boxes: ")
    assert losses(tolerant)[:6] == losses(clean)[:6] and losses(tolerant)[6] != losses(clean)[6]

    flags = (*flags, "--config.input.max_unreadable=0")
    done = run(strict, *flags, "--config.input.workers=1")
    assert_one_line(done, image.name, "max_unreadable=0")
    assert done.returncode == 2 and "leaked" not in done.stderr
    assert "saved step 5, where the same command continues" in done.stdout
    assert sorted(os.listdir(strict / "checkpoints")) == ["4", "5"]
    assert losses(strict) == losses(clean)[:6]

    image.write_bytes(content)
    done = run(strict, *flags)
    assert done.returncode == 0 and "continuing from step 5" in done.stdout
    assert losses(strict) == losses(clean)


@pytest.mark.slow
def test_a_killed_worker_stops_the_run_in_one_line(world, tmp_path):
    flags = ("--config.steps=100000", "--config.input.workers=2", *only_boxes(world))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command(tmp_path, *flags), **pipes) as process:
        try:
            assert any("first step, with compilation" in line for line in process.stdout)
            threads = Path(f"/proc/{process.pid}/task").glob("*/children")
            children = [int(pid) for path in threads for pid in path.read_text().split()]
            workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            assert len(workers) == 2
            os.kill(workers[0], signal.SIGKILL)
            out, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert_one_line(subprocess.CompletedProcess([], process.returncode, out, errors), "exit code -9", "input.workers")
    saved = re.search(r"saved step (\d+), where the same command continues", out)
    assert saved and saved[1] in os.listdir(tmp_path / "checkpoints")


@pytest.mark.slow
def test_image_without_target_is_no_error(broken, tmp_path):
    path = broken / "boxes" / "train" / "boxes.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": []}))
    done = run(
        tmp_path / "run", "--mode=train", "--config.steps=3", *roots(broken),
        "--config.datasets.panoptic.ratio=0.0", "--config.datasets.semantic.ratio=0.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / "run")) == 4 and "nan" not in "".join(losses(tmp_path / "run"))


def assert_one_line(done, *named):
    assert done.returncode not in (0, None)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for name in named:
        assert name in lines[0]
