"""Imports point one way: experiments -> data -> dataseg_jax; and every module can be imported at all."""

import ast
import pathlib
import subprocess
import sys

import pytest

import dataseg_jax

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("dataseg_jax", "data", "experiments")

# What a package may not import: a module and everything below it.
FORBIDDEN = {
    "dataseg_jax": ("data", "experiments", "configs", "tests", "absl", "logging", "ml_collections", "clu", "grain"),
    "data": ("experiments", "configs", "tests", "jax", "flax", "optax", "orbax"),
    "experiments": ("tests",),
}
# The parts of the core that the host side of input needs; the others import JAX.
DATA_MAY_USE = (
    "dataseg_jax.commands.interrupts",
    "dataseg_jax.errors",
    "dataseg_jax.io.images",
    "dataseg_jax.io.local_paths",
    "dataseg_jax.io.lock_files",
    "dataseg_jax.io.packages",
    "dataseg_jax.io.untrusted",
    "dataseg_jax.io.whole_files",
    "dataseg_jax.io.wire_format",
    "dataseg_jax.results",
    "dataseg_jax.text",
)
# Files are read where users expect it: a checkpoint, vocabularies with their embeddings, pretrained weights.
# And by the commands, which are no part of the core that takes arrays: nothing else in the package imports them.
CORE_MAY_READ_FILES = ("dataseg_jax/io/", "dataseg_jax/text/", "dataseg_jax/commands/")
FILE_MODULES = ("glob", "os.path", "pathlib", "shutil", "tempfile")


def modules(package):
    """(path relative to the repository, dotted name) of every module of a package."""
    for file in sorted((ROOT / package).rglob("*.py")):
        path = file.relative_to(ROOT)
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        yield path.as_posix(), name


def imported(node, path):
    """Dotted names that an import statement can bring in, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        here = pathlib.PurePosixPath(path).parts[: -node.level] if node.level else ()
        base = ".".join([*here, *([node.module] if node.module else [])])
        return [f"{base}.{alias.name}" for alias in node.names]
    return []


def below(name, parents):
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


def violations(source, path):
    """What a file does that the house does not allow, one line each."""
    package = path.split("/")[0]
    reads_files = package == "dataseg_jax" and not path.startswith(CORE_MAY_READ_FILES)
    found = []
    for node in ast.walk(ast.parse(source)):
        for name in imported(node, path):
            wrong = below(name, FORBIDDEN[package]) or (reads_files and below(name, FILE_MODULES))
            if package == "dataseg_jax" and not path.startswith("dataseg_jax/commands/"):
                wrong = wrong or below(name, ("dataseg_jax.commands",))
            if package == "data" and below(name, ("dataseg_jax",)):
                wrong = not below(name, DATA_MAY_USE)
            if wrong:
                found.append(f"{path}:{node.lineno} imports {name}")
        if isinstance(node, ast.Call) and reads_files:
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called in ("open", "read_text", "read_bytes", "write_text", "write_bytes"):
                found.append(f"{path}:{node.lineno} calls {called}()")
    return found


def test_no_wrong_arrow():
    found = [line for p in PACKAGES for path, _ in modules(p) for line in violations((ROOT / path).read_text(), path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dataseg_jax/a.py", "import data.pipeline.wire"),
        ("dataseg_jax/a.py", "from experiments import build"),
        ("dataseg_jax/b/c.py", "from ...data import targets"),
        ("dataseg_jax/a.py", "def f():\n    import pathlib"),
        ("dataseg_jax/a.py", "from absl import flags"),
        ("dataseg_jax/commands/a.py", "from absl import flags"),
        ("dataseg_jax/a.py", "from dataseg_jax.commands import parser"),
        ("dataseg_jax/a.py", "with open('x') as f:\n    pass"),
        ("dataseg_jax/a.py", "import os.path"),
        ("data/a.py", "import jax.numpy as jnp"),
        ("data/a.py", "from dataseg_jax import types"),
        ("data/a.py", "from dataseg_jax.objective.batch import Batch"),
        ("data/a.py", "from dataseg_jax.io import weight_files"),
        ("data/a.py", "from experiments.build import build_model"),
    ],
)
def test_wrong_arrows_are_found(path, source):
    assert len(violations(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dataseg_jax/a.py", "import dataclasses\nfrom dataseg_jax.objective.batch import Batch"),
        ("dataseg_jax/b/c.py", "from ..types import Batch"),
        ("dataseg_jax/text/a.py", "import pathlib\nopen('x')"),
        ("dataseg_jax/commands/a.py", "import pathlib\nfrom dataseg_jax.commands import parser\nopen('x')"),
        ("data/a.py", "from dataseg_jax.errors import InputError\nfrom dataseg_jax.text import load_vocabulary"),
        ("experiments/a.py", "import data.pipeline.wire, dataseg_jax, absl.flags"),
    ],
)
def test_right_arrows_are_not(path, source):
    assert violations(source, path) == []


# Entry points may define flags of one name; each of them runs alone, so here too.
IMPORT_ALL = """
import importlib, sys
from absl import flags
for name in sys.argv[1:]:
    for flag in list(flags.FLAGS):
        delattr(flags.FLAGS, flag)
    importlib.import_module(name)
if "jax" in sys.modules:
    from jax._src import xla_bridge
    print("backends:", xla_bridge.backends_are_initialized())
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports_and_touches_no_device(package):
    names = [name for _, name in modules(package) if not name.endswith(".__main__")]  # Those run when imported.
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "backends: True" not in done.stdout


def test_what_data_may_use_is_light():
    io = "dataseg_jax.io.untrusted, dataseg_jax.io.wire_format"
    used = f"dataseg_jax, {io}, dataseg_jax.results.visualise, dataseg_jax.results.segmentation"
    light = f"import sys, dataseg_jax.errors, dataseg_jax.text, {used}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", light], cwd=ROOT).returncode == 0


def test_public_names_resolve():
    from dataseg_jax.inference.predictor import Predictor

    assert dataseg_jax.Predictor is Predictor
    assert set(dataseg_jax.__all__) <= set(dir(dataseg_jax))
    with pytest.raises(AttributeError, match="no attribute 'predictor_'"):
        _ = dataseg_jax.predictor_
