"""Runs the notebooks of colabs/ and keeps their outputs in them, with pictures small enough for a repository.

    python -m docs.notebooks [NAME ...]

Without names: those whose cells have changed since their outputs were made. Needs the extra `notebooks`.
"""

import argparse
import base64
import hashlib
import io
import os
import pathlib
import re
import sys

from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "colabs"
COLOURS, WIDEST = 128, 1000  # Of a kept picture; its size in pixels stays below that of a screen.
PROGRESS = re.compile(r"^step \d+/\d+ |\d+%\|")  # Lines that come as a run goes on.
MADE_OF = "outputs_made_of"  # In the notebook's metadata: what `source_hash` was when the outputs were made.


def source_hash(cells) -> str:
    """Of the code of a notebook; `cells`: a source each, in order."""
    return hashlib.sha256("\0".join(cells).encode()).hexdigest()[:16]


def main(names: list[str]) -> None:
    """Runs notebooks and writes them with their outputs."""
    import nbclient
    import nbformat

    os.environ["PYTHONPATH"] = str(ROOT)
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        made_of = source_hash(cell.source for cell in notebook.cells if cell.cell_type == "code")
        if path.stem not in names and (names or notebook.metadata.get(MADE_OF) == made_of):
            continue
        print(f"{path.name}: runs ...", flush=True)
        nbclient.NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(ROOT)}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # Times, which would change with every run.
            if cell.cell_type == "code":
                cell.outputs = joined([kept for output in cell.outputs if (kept := small(output)) is not None])
        notebook.metadata = {"kernelspec": dict(display_name="Python 3", language="python", name="python3"),
                             "language_info": {"name": "python"}, MADE_OF: made_of}  # fmt: skip
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size >> 10} KiB", flush=True)


def joined(outputs):
    """Pieces of text that follow each other as one."""
    whole = []
    for output in outputs:
        if whole and whole[-1].output_type == output.output_type == "stream":
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def small(output):
    """The output to keep of one: pictures smaller, text without progress and folders of a machine; None for nothing."""
    if output.output_type == "stream":
        # What is on the screen at the end of each line that bars of progress have written over.
        lines = [line.rstrip("\r").split("\r")[-1] for line in output.text.split("\n")]
        text = _portable("\n".join(line for line in lines if line.strip() and not PROGRESS.search(line)))
        if output.name == "stderr" or not text:
            return None
        output.text = text + "\n"
    elif "image/png" in output.get("data", {}):
        output.data = {"image/png": _png(output.data["image/png"]), "text/plain": "a picture"}
    elif "text/plain" in output.get("data", {}):
        output.data = {"text/plain": _portable(output.data["text/plain"])}
    return output


def _portable(text: str) -> str:
    return text.replace(f"{ROOT}/", "")


def _png(encoded: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
    image.thumbnail((WIDEST, 4 * WIDEST))
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="of notebooks, without .ipynb")
    unknown = set(given := parser.parse_args().names) - {path.stem for path in FOLDER.glob("*.ipynb")}
    if unknown:
        sys.exit(f"error: colabs has no notebook {min(unknown)}.ipynb")
    main(given)
