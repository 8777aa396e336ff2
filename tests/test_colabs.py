"""The notebooks: each runs from start to end, on public names only, and opens in Colab from where the project lives."""

import ast
import json
import os
import pathlib
import re
import tomllib

import pytest

from docs.notebooks import MADE_OF, source_hash

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
# What the cell tagged "parameters" is followed by here, so that a notebook takes seconds: name -> lines of Python.
QUICK = {
    "fine_tune": 'SCRATCH = "{scratch}"; FIRST_RUN = SCRATCH + "/first"; STEPS, MORE_STEPS, OWN_STEPS = 12, 8, 8',
    "inspect_data": 'WORLD = "{scratch}/world"',
}


def cells(path, kind="code"):
    content = json.loads(path.read_text())
    return [(cell["metadata"].get("tags", []), "".join(cell["source"]), cell) for cell in content["cells"]
            if cell["cell_type"] == kind]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_tidy_and_public(path):
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    first = cells(path, "markdown")[0][1]
    github = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    assert f"({github}/blob/main/colabs/{path.name})" in first  # The badge.
    (tags, install, _), *others = cells(path)
    assert tags == ["install"] and f"git clone -q {address} " in install
    for _, source, _ in cells(path):
        python = re.sub(r"^( *)[!%].*$", r"\1pass", source, flags=re.MULTILINE)  # Lines for the shell and IPython.
        for node in ast.walk(ast.parse(python)):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Attribute):
                names = [node.attr]
            private = [name for name in names if name.startswith("_") and not name.startswith("__")]
            assert not private, f"{path.name} uses {private}"
    assert others


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_those_of_the_cells(path):
    """`python -m docs.notebooks` makes them anew after a change."""
    assert json.loads(path.read_text())["metadata"][MADE_OF] == source_hash(source for _, source, _ in cells(path))
    outputs = [output for _, _, cell in cells(path) for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)
    assert path.stat().st_size < 600_000  # Small enough for a repository.
    text = "".join(piece for output in outputs for piece in (*output.get("text", ""), *_plain(output)))
    assert not re.search(r"/(home|root|tmp|work|Users)/|Traceback", text)


def _plain(output):
    return output.get("data", {}).get("text/plain", "")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if path.stem in QUICK:
        place = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        quick = QUICK[path.stem].replace("{scratch}", str(tmp_path))
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(quick))
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": os.fspath(ROOT)}})
    client.execute()  # Raises with the cell and its traceback.
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)  # Every notebook shows something.
    shell = [text for output in outputs if "Traceback" in (text := output.get("text", ""))]
    assert not shell, shell
