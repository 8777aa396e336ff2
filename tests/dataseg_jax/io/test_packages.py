"""What needs a package that is not installed says which extra has it, in one line."""

import importlib.util
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from dataseg_jax.io.checkpoint import load_checkpoint
from dataseg_jax.io.packages import require
from tests.messages import one_line

ROOT = pathlib.Path(__file__).parents[3]

# Predicts with the model that comes with the package, where every module that an extra brings is out of reach.
PREDICTS = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import numpy as np
from dataseg_jax import Predictor, PromptPredictor, VideoPredictor, generate_masks

result = Predictor.from_pretrained("shapes")(np.zeros((40, 50, 3), np.uint8), "disc, star", task="semantic")
assert result.ids.shape == (40, 50)
"""
# flax imports absl itself.
EXTRAS = ("array_record", "clu", "grain", "huggingface_hub", "ml_collections", "optax", "orbax", "pandas",
          "tensorboardX", "tensorflow_datasets", "tensorstore")  # fmt: skip


def test_predicting_needs_no_package_of_an_extra():
    done = subprocess.run([sys.executable, "-c", PREDICTS, *EXTRAS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_named_with_its_extra(monkeypatch, tmp_path):
    known = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: known(name) if name == "json" else None)
    require("this", "train", "json")
    one_line(lambda: require("this", "data", "json", "a", "b"), "this needs a and b: pip install 'dataseg_jax[data]'")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    one_line(lambda: load_checkpoint(tmp_path), str(tmp_path), "orbax", "pip install 'dataseg_jax[train]'")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_extra_that_messages_and_documents_name_is_there(project):
    known, named = set(project["optional-dependencies"]), set()
    for pattern in ("dataseg_jax/**/*.py", "data/**/*.py", "experiments/**/*.py", "*.md", "data/*.md", "docs/**/*.md"):
        for file in ROOT.glob(pattern):
            for group in re.findall(r"(?:dataseg_jax|[\"']\.)\[([a-z,-]+)\]", file.read_text()):
                named |= set(group.split(","))
    assert {"train", "test", "text", "hub", "data", "sweep"} <= named <= known


def test_one_version_of_cuda(project):
    extras = project["optional-dependencies"]
    named = {line for group in ("cuda", "ahead-cuda") for line in extras[group] if "cu" in line}
    assert named and all("cuda12" in line or "cu12" in line for line in named), named
