r"""Exports a trained model for one vocabulary and task, to be served by JAX alone.

  python -m experiments.export --workdir=runs/quickstart --vocabulary="disc, star, grass:stuff" --out=served

  python -m experiments.export --weights=sam_vit_b_01ec64.pth --out=served
  python -m experiments.export --workdir=runs/promptable --task=prompts --out=served

exports a model that answers prompts: encoder.stablehlo and encoder.npz make features of an image, decoder.stablehlo
(decoder_with_masks.stablehlo for prompts with masks) and decoder.npz answer any number of prompts on them.
artifact.json has their inputs and outputs, and serve.py is a server of some hundred lines, which needs jax, numpy and
Pillow: `Served("served")` has the set_image and predict of a PromptPredictor.

  python -m experiments.export --workdir=runs/quickstart --pack --out=mine.npz

writes the weights alone, in half precision, for `Predictor.from_pretrained("mine.npz")` or for a repository of the
Hugging Face hub, as dataseg_jax.npz.

The first command writes predictor.stablehlo, arrays.npz and artifact.json. A server needs jax and numpy, and none of
this repository:

  record = json.load(open("served/artifact.json"))
  program = jax.export.deserialize(open("served/predictor.stablehlo", "rb").read())
  stored = np.load("served/arrays.npz")
  arrays = tuple(jax.device_put(stored[f"{i:05}"]) for i in range(len(stored.files)))
  answer = jax.jit(program.call)(arrays, image, fitted)   # uint8[B, S, S, 3], int32[B, 2]; see `fitting` in the record
"""

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import whole_file
from experiments.runtime.commandline import parse, stop

PROGRAM, ARRAYS, RECORD = "predictor.stablehlo", "arrays.npz", "artifact.json"
RECIPE = "serve.py"


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_string("workdir", None, "Folder of a run, or of one of its checkpoints.")
    flags.DEFINE_string("weights", None, "In place of a run, weights of a SAM: a file, a folder, or a hub name.")
    flags.DEFINE_bool("pack", False, "Write the weights alone to the file --out, for Predictor.from_pretrained.")
    flags.DEFINE_string("vocabulary", None, "A dataset of the run, a bundled name, a names file, or words.")
    flags.DEFINE_string(
        "task", None, "panoptic (default), semantic, instance, detection, foreground or referring; prompts: points, "
        "boxes and masks (default of a model that answers nothing else)"
    )  # fmt: skip
    flags.DEFINE_string("out", None, "Folder to write.", required=True)
    flags.DEFINE_string("text_encoder", None, "Encoder of the run's text space, for words that are not bundled.")
    flags.DEFINE_bool(
        "in_span", False, "Project words that were not trained on onto the span of the others (docs/pages/predict.md)."
    )
    flags.DEFINE_string("dataset", None, "For a run with dataset-specific modules: the dataset whose modules to use.")
    flags.DEFINE_integer("batch_size", 1, "Images per call.", lower_bound=1)
    flags.DEFINE_float("score_threshold", None, "Default: the checkpoint's, and 0 for instances.")
    flags.DEFINE_float("overlap_threshold", None, "Default: the checkpoint's.")
    flags.DEFINE_list("platforms", ["cpu", "cuda", "tpu"], "Platforms that the program has to run on.")


def main(argv: list[str]) -> None:
    """Exports as the flags say."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    require_local({f"--{name}": options[name].value for name in ("workdir", "weights", "out", "vocabulary")})
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    if (options.workdir is None) == (options.weights is None):
        raise InputError("give --workdir of a run, or --weights of a SAM")
    if options.pack:
        if options.workdir is None:
            raise InputError("--pack is for a run: give --workdir")
        _pack(options.workdir, Path(options.out))
        return
    from dataseg_jax.inference.export import PLATFORMS

    for platform in options.platforms:
        if platform not in PLATFORMS:
            raise InputError(f"--platforms: {platform!r} is none of {', '.join(PLATFORMS)}")
    out = Path(options.out)
    files, record = _exported(options)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write(out, files, record)
    except OSError as error:
        raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None
    written = sorted(out / name for name in (*files, RECORD))
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in written)
    print(f"{out}: {sizes}; for {', '.join(options.platforms)}")


def _exported(options) -> tuple[dict, dict]:
    """Files to write, see `write`, and the record that belongs to them."""
    from dataseg_jax.inference.promptable.predictor import PromptPredictor
    from dataseg_jax.io.checkpoint import load_checkpoint

    if options.weights is not None:
        return _of_prompts(PromptPredictor.from_weights(options.weights), options)
    checkpoint = load_checkpoint(options.workdir)
    if options.task == "prompts" or not checkpoint.spec.has_queries:
        return _of_prompts(PromptPredictor(checkpoint.params, checkpoint.spec, checkpoint.image_size), options)
    from dataseg_jax.inference.export import export
    from dataseg_jax.inference.predictor import Predictor

    if options.vocabulary is None:
        raise InputError("give --vocabulary: a dataset of the run, a bundled name, a names file, or words")
    artifact = export(
        Predictor(checkpoint, options.text_encoder, in_span=options.in_span), options.vocabulary,
        options.task or "panoptic", options.batch_size, options.score_threshold, options.overlap_threshold,
        options.dataset, tuple(options.platforms),
    )  # fmt: skip
    return {PROGRAM: artifact.program, ARRAYS: artifact.arrays}, artifact.record


def _of_prompts(predictor, options) -> tuple[dict, dict]:
    from dataseg_jax.inference.promptable.export import export_prompts
    from dataseg_jax.io import serving

    if options.task not in (None, "prompts"):
        raise InputError(f"--task={options.task}: this model answers prompts alone; leave it out")
    artifact = export_prompts(predictor, tuple(options.platforms))
    files = {f"{name}.stablehlo": program for name, program in artifact.programs.items()}
    files |= {f"{name}.npz": arrays for name, arrays in artifact.arrays.items()}
    return files | {RECIPE: Path(serving.__file__).read_bytes()}, artifact.record


def _pack(workdir: str, out: Path) -> None:
    from dataseg_jax.io.checkpoint import load_checkpoint
    from dataseg_jax.io.packed_checkpoint import ENDING, pack

    if out.suffix != ENDING:
        raise InputError(f"--out={out}: a packed model is a file that ends in {ENDING}")
    checkpoint = load_checkpoint(workdir)
    try:
        pack(checkpoint, out)
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


def run(argv: list[str]) -> None:
    """`main`, with bad input reported in one line."""
    try:
        main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    define_flags()
    app.run(run, flags_parser=parse)
