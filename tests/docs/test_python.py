"""Python blocks of the pages are run, each page from top to bottom, on a drawing, with models of the package.

Where a block needs published weights, a small network with random weights answers in their place. Blocks that need
something else are compiled, and their imports are made.
"""

import ast
import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from data.shapes import World
from data.shapes.world import draw
from dataseg_jax import Predictor, PromptPredictor, VideoPredictor
from dataseg_jax.commands.export import files_of, write
from dataseg_jax.inference.export import export
from tests.docs.pages import PAGES, in_language, name

WEIGHTS = "# needs: the published weights"
BLOCKS = in_language("python")
PAGES_WITH_PYTHON = [page for page in PAGES if any(block.page == page for block in BLOCKS)]


def is_run(block):
    return not block.needs or WEIGHTS in block.text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the files that the pages name."""
    image = Image.fromarray(draw(World(seed=5), "transfer", "val", 0).image).resize((640, 480))
    image.save(tmp_path / "image.png")
    (tmp_path / "frames").mkdir()
    for number in range(3):
        image.save(tmp_path / "frames" / f"{number:05}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(folder, monkeypatch):
    """In the folder what the command of the page exports, of the model that the page has."""
    artifact = export(Predictor.from_pretrained("shapes"), "disc, star, grass:stuff", platforms=("cpu",))
    (folder / "served").mkdir()
    write(folder / "served", files_of(artifact), artifact.record)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("runtime", None)


@pytest.fixture
def small_networks(monkeypatch):
    """In place of published weights, which a test cannot download."""
    from tests.dataseg_jax.inference.promptable import test_prompt_predictor as prompts
    from tests.dataseg_jax.inference.video import toy

    params = toy.random_params(prompts.SPEC, prompts.SIDE)
    monkeypatch.setattr(PromptPredictor, "from_weights", lambda *_: PromptPredictor(params, prompts.SPEC, prompts.SIDE))
    monkeypatch.setattr(VideoPredictor, "from_weights", lambda *_: toy.predictor())


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=name)
def test_blocks_run_from_top_to_bottom(page, folder, small_networks, request):
    if any("from runtime import" in block.text for block in BLOCKS if block.page == page):
        request.getfixturevalue("served")
    names = {"np": np, "image": np.asarray(Image.open("image.png"))}
    for block in (block for block in BLOCKS if block.page == page and is_run(block)):
        exec(compile(block.text, str(block), "exec"), names)
    if "overlay.png" in "".join(block.text for block in BLOCKS if block.page == page):
        with Image.open("overlay.png") as overlay:
            assert overlay.size[0] >= 640


@pytest.mark.parametrize("block", [block for block in BLOCKS if not is_run(block)], ids=str)
def test_imports_of_other_blocks_can_be_made(block):
    modules = [
        alias.name for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Import) for alias in node.names
    ]
    assert modules
    for module in modules:
        importlib.import_module(module)


def test_most_blocks_are_run():
    assert sum(map(is_run, BLOCKS)) >= 8
