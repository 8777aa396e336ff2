"""Segments images into the categories of any words: `dataseg predict`, and the work of `experiments.predict`."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dataseg_jax.commands import parser as flags
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local

USAGE = 'IMAGES... --words="cat, dog, sky:stuff" [flags]'
DESCRIPTION = """
IMAGES are files, folders and globs. Writes COCO JSON or label PNGs, and the
images with their segments in OUT/overlays.
"""
TASKS = ("panoptic", "semantic", "instance", "detection", "foreground", "referring")
OVERLAYS = ("jpg", "png", "none")
WRITE = ("coco", "label_studio", "label_studio_polygons", "cvat")  # The keys of `exchange_files.FORMS`, and none.


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to predict, on which images: `experiments.predict` says what each is."""

    images: Sequence[str]
    out: str
    task: str = "panoptic"
    words: str | None = None
    phrases: Sequence[str] | None = None
    dataset: str | None = None
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    max_pixels: int = 2**29
    batch_size: int = 4
    overlays: str = "jpg"
    write: str = "coco"
    image_url: str = "/data/local-files/?d="
    flag: str = "--images"  # The images are given by, for messages.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `dataseg predict`."""
    add = parser.add_argument
    flags.add_images(parser)
    add("--words", help='"cat, dog, sky:stuff", a bundled name or a names file')
    add("--phrases", type=flags.comma_list, help='of --task=referring: "the left dog, a red car"')
    add("--task", choices=TASKS, default="panoptic", metavar="TASK", help="panoptic, semantic, instance, ...")
    add("--checkpoint", default="family", metavar="PLACE", help="family, shapes, a run, a packed file or OWNER/NAME")
    add("--out", default="predicted", metavar="FOLDER", help="to write (predicted)")
    add("--text_encoder", metavar="NAME", help="for words that are not bundled")
    add("--in_span", action="store_true", help="project new words onto trained ones")
    add("--dataset", metavar="NAME", help="of a run with modules for each dataset")
    add("--score_threshold", type=flags.fraction, metavar="P", help="what is kept scores above it")
    add("--overlap_threshold", type=flags.fraction, metavar="P", help="share of its mask that a segment keeps")
    add("--batch_size", type=flags.positive, default=4, metavar="N", help="images per forward pass (4)")
    add("--max_pixels", type=flags.positive, default=2**29, metavar="N", help="larger images are not decoded")
    add("--overlays", choices=OVERLAYS, default="jpg", metavar="KIND", help="jpg, png or none")
    add("--write", choices=WRITE, default="coco", metavar="FORM", help="also label_studio, label_studio_polygons, cvat")
    add("--image_url", default=Asked.image_url, metavar="PREFIX", help="of images for Label Studio; names follow")


def run(options: argparse.Namespace) -> int:
    """`dataseg predict`; returns the exit status. Raises InputError."""
    require_local({"--checkpoint": options.checkpoint, "--out": options.out, "IMAGES": options.images})

    def open_predictor():
        from dataseg_jax.inference.predictor import Predictor

        return Predictor.from_pretrained(options.checkpoint, options.text_encoder, options.in_span)

    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(Asked) if field.name != "flag"}
    return predict(Asked(**given, flag="IMAGES"), open_predictor)


def predict(asked: Asked, open_predictor: Callable) -> int:
    """Predicts and writes. An image that cannot be read or written is reported.

    Args:
      asked: the images, the words and how.
      open_predictor: gives the `Predictor`; called after the images are found.

    Returns:
      The exit status: 0 all is written, 1 some images failed.

    Raises:
      InputError: nothing can be done.
    """
    from tqdm import tqdm

    from dataseg_jax.commands.exchange_files import FORMS
    from dataseg_jax.commands.images import find_images, image_ids, read_images
    from dataseg_jax.commands.prediction_files import PredictionFiles

    files = find_images(list(asked.images), asked.flag)
    predictor = open_predictor()
    predictor.thresholds(asked.task, asked.score_threshold, asked.overlap_threshold)
    vocabulary = _vocabulary(asked, predictor)
    predictor.row(vocabulary, asked.task)  # Words without an embedding are reported before any image is read.
    form = FORMS.get(asked.write)  # None: COCO's files alone.
    others = [form(Path(asked.out), asked.task, vocabulary, asked.image_url)] if form else []
    writer = PredictionFiles(asked.out, asked.task, vocabulary, image_ids(files), asked.overlays, others)

    failed, empty = 0, 0
    with tqdm(total=len(files), unit="image", mininterval=1.0) as progress:
        for first in range(0, len(files), asked.batch_size):
            of_batch = files[first : first + asked.batch_size]
            batch, problems = read_images(of_batch, asked.max_pixels)
            if batch:
                results = predictor.predict(
                    list(batch.values()), vocabulary, asked.task, asked.score_threshold, asked.overlap_threshold,
                    asked.batch_size, asked.dataset,
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
        raise InputError(f"{error.filename or asked.out}: cannot be written ({error.strerror})") from None
    print(f"{len(files) - failed} images predicted, {empty} without a segment, {failed} failed: {', '.join(written)}")
    return 1 if failed else 0


def _vocabulary(asked: Asked, predictor):
    """The vocabulary that the flags give; the phrases, where the task is referring."""
    from dataseg_jax.text import phrase_vocabulary

    if (asked.phrases is None) == (asked.task == "referring"):
        which = "needs" if asked.task == "referring" else "has no"
        raise InputError(f"--task={asked.task} {which} --phrases; they belong to --task=referring")
    if asked.phrases is not None:
        return phrase_vocabulary(asked.phrases)
    return predictor.vocabulary(asked.words, asked.task)
