"""What every test gets: the CPU, programs that compile quickly and are kept between runs, usable absl flags.

Tests that need several devices start a process of their own: the number of devices is fixed when JAX starts.
"""

import os
import pathlib
import subprocess
import sys

import filelock
import pytest
from absl import flags

# Before any import of jax; the processes that tests start inherit these.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_cache = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_cache))
os.environ.setdefault("DATASEG_CACHE", str(_cache.with_name("dataseg")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Half the time to compile, which is most of the time of the tests. A test that needs further flags adds them to these.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

# Worker processes of grain read absl flags, which only `app.run` parses.
flags.FLAGS.mark_as_parsed()

# The smoke tier: what a mistake in the core most often breaks, in under a minute. Folders and files of tests.
SMOKE = (
    "data/pipeline/augmentation/test_colour.py",
    "data/pipeline/augmentation/test_crop.py",
    "data/pipeline/augmentation/test_rotation.py",
    "data/pipeline/test_views.py",
    "data/pipeline/test_transforms.py",
    "data/pipeline/test_wire.py",
    "data/readers/test_coco_instances.py",
    "data/readers/test_json_stream.py",
    "data/readers/test_sources.py",
    "data/test_images.py",
    "data/validate/test_validate_rules.py",
    "dataseg_jax/metrics",
    "dataseg_jax/objective/test_losses.py",
    "dataseg_jax/objective/test_matching.py",
    "dataseg_jax/objective/test_merge.py",
    "dataseg_jax/objective/test_targets.py",
    "dataseg_jax/objective/test_tasks.py",
    "dataseg_jax/results",
    "dataseg_jax/text/test_text.py",
    "dataseg_jax/training/test_train_step.py",
    "experiments/evaluation/test_scoring_panoptic.py",
    "experiments/runtime/test_lock.py",
    "test_gate.py",
)


# The files that take longest, which begin first: what begins last has a processor of its own.
LONGEST = (
    "experiments/runtime/test_elastic.py",
    "experiments/test_main.py",
    "configs/test_paper_runs.py",
    "experiments/runtime/test_faults.py",
    "fuzz/test_random.py",
    "test_colabs.py",
    "golden/test_golden.py",
    "dataseg_jax/training/test_devices.py",
    "configs/test_custom.py",
    "experiments/tables/test_tables.py",
    "experiments/evaluation/test_evaluation.py",
    "experiments/sweep/test_sweep_local.py",
    "experiments/sweep/test_sweep.py",
    "kills/test_kills.py",
    "experiments/test_predict.py",
    "experiments/runtime/test_schedule_of_a_run.py",
    "fuzz/test_named.py",
    "experiments/pretrained/test_efficientnet_lite.py",
    "dataseg_jax/networks/test_dataset_specific.py",
    "dataseg_jax/objective/test_points.py",
    "experiments/test_convert.py",
    "dataseg_jax/networks/backbones/test_efficientnet_lite.py",
    "dataseg_jax/networks/test_segmenter.py",
    "dataseg_jax/objective/test_groups.py",
    "configs/test_paper.py",
)


_chosen = tuple(pathlib.Path(__file__).parent / name for name in SMOKE)


def _is_smoke(path: pathlib.Path) -> bool:
    return any(path == place or place in path.parents for place in _chosen)


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """With `-m smoke`, other files are not imported, which alone takes as long as the tests."""
    if config.option.markexpr == "smoke" and collection_path.suffix == ".py":
        return not _is_smoke(collection_path) or None
    return None


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist would begin with the files of most tests.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {pathlib.Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    for item in items:
        if _is_smoke(item.path) and not (item.get_closest_marker("slow") or item.get_closest_marker("soak")):
            item.add_marker(pytest.mark.smoke)


# A program is compiled once for all runs of the same number of steps, of which the learning rate is a function.
TINY_RUN = (
    "--config=configs/quickstart.py:smoke",
    "--config.model.mask_decoder.layers=1",
    "--config.model.backbone.width=8",
    "--config.model.pixel_decoder.width=16",
    "--config.model.mask_decoder.width=16",
    "--config.batch_size=4",
    "--config.log.every=1",
)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """(workdir, world) of a run of three steps, by the real program and scored; all workers share it: do not change it.

    Its thresholds let so young a model answer.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    workdir, world = shared / "trained_run", shared / "trained_world"
    with filelock.FileLock(shared / "trained_run.lock"):
        if not (workdir / "results.json").exists():
            numbers = ("--panoptic=64", "--semantic=32", "--boxes=32", "--val=16", "--size=64")
            subprocess.run([sys.executable, "-m", "data.shapes", f"--root={world}", *numbers], check=True)
            thresholds = ("--config.eval.score_threshold=0.0", "--config.eval.overlap_threshold=0.0")
            flags = (*TINY_RUN, *thresholds, "--config.steps=3", f"--config.world.root={world}", f"--workdir={workdir}")
            done = subprocess.run([sys.executable, "-m", "experiments.main", *flags], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    return workdir, world
