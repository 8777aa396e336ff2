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

The first command writes programs, arrays.npz, artifact.json and runtime.py, which needs jax and numpy, and none of this
repository. In the folder that it wrote:

  from runtime import Served
  (answer,) = Served(".").predict([image])  # uint8[H, W, 3], RGB, of any size
  answer["segments"], answer["ids"]         # int32[H, W], 0 = void
"""

from pathlib import Path

from absl import app, flags, logging

from dataseg_jax.commands.export import Asked, export, pack
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.runtime.commandline import parse, stop


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

    def open_checkpoint():
        from dataseg_jax.io.checkpoint import load_checkpoint

        return load_checkpoint(options.workdir)

    if options.pack:
        if options.workdir is None:
            raise InputError("--pack is for a run: give --workdir")
        pack(open_checkpoint, Path(options.out))
        return
    asked = Asked(
        options.out, options.task, options.vocabulary, options.text_encoder, options.in_span, options.dataset,
        options.batch_size, options.score_threshold, options.overlap_threshold, options.platforms,
    )  # fmt: skip
    export(asked, open_checkpoint, options.weights)


def run(argv: list[str]) -> None:
    """`main`, with bad input reported in one line."""
    try:
        main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    define_flags()
    app.run(run, flags_parser=parse)
