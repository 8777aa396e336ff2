"""The files that run the gate elsewhere name what `.ci/run` and constraints.txt name."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def test_a_hosted_machine_runs_the_gate_and_nothing_else():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_hooks_use_the_version_of_ruff_that_the_gate_uses():
    yaml = pytest.importorskip("yaml")
    (pinned,) = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("ruff==")]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["additional_dependencies"] for hook in repository["hooks"]] == [[pinned]] * len(repository["hooks"])


def test_the_smoke_tier_lists_what_is_there():
    from tests.conftest import SMOKE

    assert [name for name in SMOKE if not (ROOT / "tests" / name).exists()] == []
