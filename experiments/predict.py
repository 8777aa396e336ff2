r"""Segments images with a trained model, for any vocabulary.

  python -m experiments.predict --workdir=runs/quickstart --images=photos --out=predicted \
      --task=panoptic --vocabulary="person, dog, grass:stuff, sky:stuff"

--images: images, folders (with all below them) and globs, with commas between. Below --out:
  overlays/     the images with their segments and a legend
  panoptic.json, panoptic/     COCO panoptic, as `experiments.evaluate --metric=pq` reads it
  results.json  COCO results with run lengths (instance, referring) or boxes (detection), as `--metric=ap` reads it
  labels/       label PNGs of category ids (semantic), as `--metric=miou` reads it
  foreground/   gray PNGs (foreground), as `--metric=foreground` reads it
An image's id is the number at the end of its file name, where all file names have different ones; else its position in
the sorted list. An image that cannot be predicted is reported and skipped. Exit status: 0 all is written, 1 some images
failed, 2 nothing could be done.
"""

from absl import app, flags, logging

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.predict import WRITE, Asked, predict
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.runtime.commandline import parse, stop


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    flags.DEFINE_string("workdir", None, "Folder of a run; its newest checkpoint is used.")
    flags.DEFINE_string("checkpoint", None, "Folder of a checkpoint, instead of --workdir.")
    flags.DEFINE_list("images", None, "Images, folders, globs.", required=True)
    flags.DEFINE_string("out", None, "Folder to write.", required=True)
    flags.DEFINE_string("task", "panoptic", "panoptic, semantic, instance, detection, foreground or referring.")
    flags.DEFINE_list("phrases", None, "Of the task referring, in place of a vocabulary: 'the left dog,a red car'.")
    flags.DEFINE_string(
        "vocabulary", None, "A dataset of the run, a bundled name, a names file, or words; foreground needs none."
    )
    flags.DEFINE_string("text_encoder", None, "Encoder of the run's text space, for words that are not bundled.")
    flags.DEFINE_bool(
        "in_span", False, "Project words that were not trained on onto the span of the others (docs/pages/predict.md)."
    )
    flags.DEFINE_string("dataset", None, "For a run with dataset-specific modules: the dataset whose modules to use.")
    flags.DEFINE_float(
        "score_threshold",
        None,
        "Segments and instances have to score above it; default: the checkpoint's, and 0 for instances.",
    )
    flags.DEFINE_float(
        "overlap_threshold", None, "Share of its mask that a segment has to keep; default: the checkpoint's."
    )
    flags.DEFINE_integer("max_pixels", 2**29, "Of an image, to be decoded; 2^30 is the most.", 1, 2**30)
    flags.DEFINE_integer("batch_size", 4, "Images per forward pass.", lower_bound=1)
    flags.DEFINE_enum("overlays", "jpg", ["jpg", "png", "none"], "File format of the overlays.")
    flags.DEFINE_enum("write", "coco", WRITE, "Files of annotation tools beside COCO's (docs/pages/predict.md).")
    flags.DEFINE_string("image_url", Asked.image_url, "Of images for Label Studio; their names follow.")


def main(argv: list[str]) -> int:
    """Predicts as the flags say; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    require_local(
        {f"--{name}": options[name].value for name in ("workdir", "checkpoint", "images", "out", "vocabulary")}
    )
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.

    def open_predictor():
        from dataseg_jax.inference.predictor import Predictor

        if (options.workdir is None) == (options.checkpoint is None):
            raise InputError("give --workdir or --checkpoint, one of the two")
        return Predictor.from_checkpoint(options.workdir or options.checkpoint, options.text_encoder, options.in_span)

    asked = Asked(
        options.images, options.out, options.task, options.vocabulary, options.phrases, options.dataset,
        options.score_threshold, options.overlap_threshold, options.max_pixels, options.batch_size, options.overlays,
        options.write, options.image_url,
    )  # fmt: skip
    return predict(asked, open_predictor)


def run(argv: list[str]) -> int:
    """`main`, with bad input reported in one line."""
    try:
        return main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    heed_interrupts()
    define_flags()
    app.run(run, flags_parser=parse)
