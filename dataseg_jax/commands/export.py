"""Exports a trained model, to be served by JAX alone: `dataseg export`, and the work of `experiments.export`."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dataseg_jax.commands import parser as flags
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import whole_file

USAGE = '--checkpoint=family --words="cat, sky:stuff" --out=served'
DESCRIPTION = """
Writes programs, arrays.npz, artifact.json and runtime.py, which runs them; of a
model that answers prompts an encoder, a decoder and serve.py (docs/pages).
"""
PROGRAM, ARRAYS, RECORD = "predictor.stablehlo", "arrays.npz", "artifact.json"
RECIPE, RUNTIME = "serve.py", "runtime.py"
NETWORK = "network.onnx"
FORMATS = ("stablehlo", "onnx")
PLATFORMS = ("cpu", "cuda", "tpu")
TASKS = ("panoptic", "semantic", "instance", "detection", "foreground", "referring", "prompts")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to export: `experiments.export` says what each is."""

    out: str
    task: str | None = None
    words: str | None = None
    text_encoder: str | None = None
    in_span: bool = False
    dataset: str | None = None
    batch_size: int = 1
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    platforms: Sequence[str] = PLATFORMS
    format: str = "stablehlo"
    flag: str = "--vocabulary"  # The words are given by, for messages.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg export`."""
    add = parser.add_argument
    add("--checkpoint", metavar="PLACE", help="family, shapes, a run, a packed file or OWNER/NAME")
    add("--weights", metavar="FILE", help="in its place a SAM or SAM 2: file, folder, hub name")
    add("--words", help='"cat, dog, sky:stuff", a bundled name or a names file')
    add("--task", choices=TASKS, metavar="TASK", help="panoptic, ...; prompts: points, boxes, masks")
    add("--out", required=True, metavar="FOLDER", help="to write; with --pack a file, mine.npz")
    add("--pack", action="store_true", help="write the weights alone, in half precision")
    add("--text_encoder", metavar="NAME", help="for words that are not bundled")
    add("--in_span", action="store_true", help="project new words onto trained ones")
    add("--dataset", metavar="NAME", help="of a run with modules for each dataset")
    add("--batch_size", type=flags.positive, default=1, metavar="N", help="images per call (1)")
    add("--score_threshold", type=flags.fraction, metavar="P", help="what is kept scores above it")
    add("--overlap_threshold", type=flags.fraction, metavar="P", help="share of its mask that a segment keeps")
    add("--format", choices=FORMATS, default="stablehlo", metavar="KIND", help="stablehlo; onnx: the network alone")
    add("--platforms", type=flags.comma_list, default=list(PLATFORMS), metavar="LIST", help="of cpu, cuda, tpu (all)")


def run(options: argparse.Namespace) -> int:
    """`dataseg export`; returns the exit status. Raises InputError."""
    require_local({f"--{name}": getattr(options, name) for name in ("checkpoint", "weights", "out")})
    if (options.checkpoint is None) == (options.weights is None):
        raise InputError("give --checkpoint, or --weights of a SAM")

    def open_checkpoint():
        from dataseg_jax.io.packed_checkpoint import find

        return find(options.checkpoint)

    if options.pack:
        if options.checkpoint is None:
            raise InputError("--pack is for a trained model: give --checkpoint")
        pack(open_checkpoint, Path(options.out))
        return 0
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(Asked) if field.name != "flag"}
    export(Asked(**given, flag="--words"), open_checkpoint, options.weights)
    return 0


def export(asked: Asked, open_checkpoint: Callable, weights: str | None) -> None:
    """Exports a checkpoint, or with `weights` published weights of a SAM, and says what was written.

    Raises:
      InputError: nothing can be exported, or the folder cannot be written.
    """
    for platform in asked.platforms:
        if platform not in PLATFORMS:
            raise InputError(f"--platforms: {platform!r} is none of {', '.join(PLATFORMS)}")
    out = Path(asked.out)
    files, record = _exported(asked, open_checkpoint, weights)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out, files, record)
    except OSError as error:
        raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None
    runs_on = "ONNX" if asked.format == "onnx" else ", ".join(asked.platforms)
    written = sorted(out / name for name in (*files, RECORD))
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in written)
    print(f"{out}: {sizes}; for {runs_on}")


def _exported(asked: Asked, open_checkpoint: Callable, weights: str | None) -> tuple[dict, dict]:
    """Files to write, see `write`, and the record that belongs to them."""
    from dataseg_jax.inference.promptable.predictor import PromptPredictor

    if weights is not None:
        return _of_prompts(PromptPredictor.from_weights(weights), asked)
    checkpoint = open_checkpoint()
    if asked.task == "prompts" or not checkpoint.spec.has_queries:
        return _of_prompts(PromptPredictor(checkpoint.params, checkpoint.spec, checkpoint.image_size), asked)
    from dataseg_jax.inference.export import export as exported
    from dataseg_jax.inference.export import export_onnx
    from dataseg_jax.inference.predictor import Predictor

    if asked.words is None:
        raise InputError(f"give {asked.flag}: a dataset of the run, a bundled name, a names file, or words")
    predictor = Predictor(checkpoint, asked.text_encoder, in_span=asked.in_span)
    if asked.format == "onnx":
        network = export_onnx(predictor, asked.words, asked.task or "panoptic", asked.batch_size, asked.dataset)
        return {NETWORK: network.model, RUNTIME: _runtime()}, network.record
    artifact = exported(
        predictor, asked.words, asked.task or "panoptic",
        asked.batch_size, asked.score_threshold, asked.overlap_threshold, asked.dataset, tuple(asked.platforms),
    )  # fmt: skip
    return files_of(artifact), artifact.record


def files_of(artifact) -> dict[str, bytes | tuple[np.ndarray, ...]]:
    """The files of an `inference.export.Artifact`, for `write`."""
    files = {f"{name}.stablehlo": program for name, program in artifact.at_image.items()}
    return {PROGRAM: artifact.program, ARRAYS: artifact.arrays, **files, RUNTIME: _runtime()}


def _runtime() -> bytes:
    from dataseg_jax.io.recipes import runtime

    return Path(runtime.__file__).read_bytes()


def _of_prompts(predictor, asked: Asked) -> tuple[dict, dict]:
    from dataseg_jax.inference.promptable.export import export_prompts
    from dataseg_jax.io.recipes import serving

    if asked.task not in (None, "prompts"):
        raise InputError(f"--task={asked.task}: this model answers prompts alone; leave it out")
    if asked.format != "stablehlo":
        raise InputError(f"--format={asked.format}: a model of prompts is exported as stablehlo alone")
    artifact = export_prompts(predictor, tuple(asked.platforms))
    files = {f"{name}.stablehlo": program for name, program in artifact.programs.items()}
    files |= {f"{name}.npz": arrays for name, arrays in artifact.arrays.items()}
    return files | {RECIPE: Path(serving.__file__).read_bytes()}, artifact.record


def pack(open_checkpoint: Callable, out: Path) -> None:
    """Writes a packed model, and says so. Raises InputError."""
    from dataseg_jax.io import packed_checkpoint

    if out.suffix != packed_checkpoint.ENDING:
        raise InputError(f"--out={out}: a packed model is a file that ends in {packed_checkpoint.ENDING}")
    checkpoint = open_checkpoint()
    try:
        packed_checkpoint.pack(checkpoint, out)
    except OSError as error:
        raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, step {checkpoint.step}")


def write(out: Path, files: dict[str, bytes | tuple[np.ndarray, ...]], record: dict) -> None:
    """Writes files and their record; a kill leaves those of an earlier export, or none called artifact.json.

    A file is bytes, or arrays for an .npz that are numbered there.
    """
    # All are complete before the first gets its name, and the record is the last: where it is, the others belong to it.
    with ExitStack() as stack:
        stack.enter_context(whole_file(out / RECORD)).write(f"{json.dumps(record, indent=1)}\n".encode())
        for name, content in files.items():
            file = stack.enter_context(whole_file(out / name))
            if isinstance(content, bytes):
                file.write(content)
            else:
                np.savez(file, **{f"{i:05}": array for i, array in enumerate(content)})
        (out / RECORD).unlink(missing_ok=True)  # Of an earlier export.
