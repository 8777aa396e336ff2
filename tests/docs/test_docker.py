"""The Dockerfile, as far as it can be checked without Docker; a hosted workflow builds it."""

import json
import re
import shlex
import tomllib

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_commands import of_dataseg

DOCKERFILE = ROOT / "docs" / "docker" / "Dockerfile"
WORKFLOW = ROOT / ".github" / "workflows" / "image.yml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions():
    """(instruction, the rest) of each line; comments are left out, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def of(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def copied():
    return [source for rest in of("COPY") for source in shlex.split(rest)[:-1]]


def known(extras):
    return set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_base_is_pinned_and_has_the_python_of_the_constraints():
    (base,) = of("FROM")
    match = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", base)
    assert match and f"resolved on Python {match[1]}" in (ROOT / "constraints.txt").read_text()


def test_all_that_the_installation_needs_is_copied_and_there():
    needed = {"constraints.txt", "pyproject.toml", "dataseg_jax", PROJECT["readme"], *PROJECT["license-files"]}
    assert set(copied()) == needed and all((ROOT / source).exists() for source in needed)
    ignored = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split("\n*\n", 1)[1].splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == needed


def test_what_is_installed_is_pinned_and_known():
    (install,) = [rest for rest in of("RUN") if "pip install" in rest]
    assert '-c constraints.txt ".[${EXTRAS}]"' in install
    (argument,) = of("ARG")
    name, extras = argument.split("=")
    assert name == "EXTRAS" and known(extras)
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for extra in extras.split(","):
        packages = [re.match(r"[\w.-]+", line)[0].lower() for line in PROJECT["optional-dependencies"][extra]]
        assert set(packages) <= pinned


def test_it_holds_no_path_of_a_machine_and_does_not_run_as_root():
    text = DOCKERFILE.read_text()
    assert set(re.findall(r"(?<![\w.])/[a-z]+", text)) <= {"/app", "/home", "/docker"}
    assert of("USER") == ["dataseg"] and json.loads(of("ENTRYPOINT")[0])[0] in ("dataseg",)
    assert not any("://" in line for line in text.splitlines())


def test_the_workflow_builds_it_with_extras_that_exist():
    workflow = pytest.importorskip("yaml").safe_load(WORKFLOW.read_text())
    job = workflow["jobs"]["build"]
    assert all(known(extras) for extras in job["strategy"]["matrix"]["extras"])
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert runs[0].startswith(f"docker build -f {DOCKERFILE.relative_to(ROOT).as_posix()} --build-arg EXTRAS=")
    served = [line for run in runs for line in run.splitlines() if " serve " in line]
    for line in served:
        assert of_dataseg(shlex.split(line.split(" dataseg ", 1)[1])) == ""
    assert len(served) == 1
    for file in re.findall(r"@([\w/.]+)", " ".join(runs)):
        assert (ROOT / file).exists()
