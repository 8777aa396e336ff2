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

import sys

from absl import app, flags, logging
from tqdm import tqdm

from data.pipeline.interrupts import heed_interrupts
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


def main(argv: list[str]) -> int:
    """Predicts as the flags say; returns the exit status."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    require_local(
        {f"--{name}": options[name].value for name in ("workdir", "checkpoint", "images", "out", "vocabulary")}
    )
    logging.set_verbosity(logging.WARNING)  # Orbax logs everything that it reads.
    from experiments.evaluation.prediction_files import PredictionFiles, find_images, image_ids

    files = find_images(options.images)
    from dataseg_jax.inference.predictor import Predictor

    if (options.workdir is None) == (options.checkpoint is None):
        raise InputError("give --workdir or --checkpoint, one of the two")
    predictor = Predictor.from_checkpoint(options.workdir or options.checkpoint, options.text_encoder, options.in_span)
    predictor.thresholds(options.task, options.score_threshold, options.overlap_threshold)
    vocabulary = _vocabulary(options, predictor)
    predictor.row(vocabulary, options.task)  # Words without an embedding are reported before any image is read.
    writer = PredictionFiles(options.out, options.task, vocabulary, image_ids(files), options.overlays)

    failed, empty = 0, 0
    with tqdm(total=len(files), unit="image", mininterval=1.0) as progress:
        for first in range(0, len(files), options.batch_size):
            of_batch = files[first : first + options.batch_size]
            batch, problems = _read(of_batch, options.max_pixels)
            if batch:
                results = predictor.predict(
                    list(batch.values()), vocabulary, options.task, options.score_threshold,
                    options.overlap_threshold, options.batch_size, options.dataset,
                )  # fmt: skip
                for file, result in zip(batch, results, strict=True):
                    try:
                        writer.add(file, result)
                    except OSError as error:
                        problems.append(f"{file}: cannot be written ({error})")
                    if not result.segments:
                        empty += 1
                        tqdm.write(f"{file}: no segment; {result.proposal_counts}", file=sys.stderr)
            for problem in problems:
                tqdm.write(f"failed: {problem}", file=sys.stderr)
            failed += len(problems)
            progress.update(len(of_batch))
    try:
        written = writer.close()
    except OSError as error:
        raise InputError(f"{error.filename or options.out}: cannot be written ({error.strerror})") from None
    print(f"{len(files) - failed} images predicted, {empty} without a segment, {failed} failed: {', '.join(written)}")
    return 1 if failed else 0


def _vocabulary(options, predictor):
    """The vocabulary that the flags give; the phrases, where the task is referring."""
    from dataseg_jax.text import phrase_vocabulary

    if (options.phrases is None) == (options.task == "referring"):
        which = "needs" if options.task == "referring" else "has no"
        raise InputError(f"--task={options.task} {which} --phrases; they belong to --task=referring")
    if options.phrases is not None:
        return phrase_vocabulary(options.phrases)
    return predictor.vocabulary(options.vocabulary, options.task)


def _read(files, max_pixels: int) -> tuple[dict, list[str]]:
    """The images that can be read, and what is wrong with the others."""
    from data.images import Limits, read_rgb

    images, problems = {}, []
    for file in files:
        try:
            images[file] = read_rgb(str(file), Limits(pixels=max_pixels))
        except InputError as error:
            problems.append(str(error))
    return images, problems


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
