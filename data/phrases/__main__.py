"""The command line: python -m data.phrases --mode=template --format=coco_panoptic --root=DIR --out=DIR.

template: phrases such as "the left person", "the small red car", true of one object by construction, and phrases that
describe nothing in the image. captions: those that a captioner wrote, --captions=FILE.json, a list of
{"image_id", "annotation_id" or "segment_id", "captions": [text, ...]}. Both write OUT/instances.json and OUT/refs.json,
in RefCOCO's layout. foreground: OUT/images and OUT/masks, the union of the things of each image, to try programs on.
Exit status: 0 all is written, 1 some images failed or nothing could be done.
"""

import argparse
import sys
from collections.abc import Sequence

from data.formats.flags import add_dataset_flags, open_flagged, require_local_flags
from data.phrases.captions import Captions
from data.phrases.foreground import write_foreground
from data.phrases.objects import require_objects
from data.phrases.write import by_captions, by_templates, write_phrases
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local

MODES = ("template", "captions", "foreground")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    flags = _parser().parse_args(arguments)
    try:
        require_local_flags(flags)
        require_local({"--captions": flags.captions})
        _check(flags)
        captions = Captions(flags.captions) if flags.captions else None
        source = open_flagged(flags, flags.limit)
        require_objects(source)
        if flags.mode == "foreground":
            images, failed = write_foreground(source, flags.out)
            print(f"{images} images and masks of all things, to try programs on; {failed} failed: {flags.out}")
            return int(failed > 0)
        phraser = by_captions(source, captions) if captions else by_templates(source, flags.absent)
        counts = write_phrases(source, flags.out, phraser, flags.seed, flags.val_share)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if captions and captions.unused:
        image, own = next(iter(captions.unused))
        print(
            f"note: {flags.captions} describes {len(captions.unused)} objects that are not in use, such as {own} of "
            f"image {image}",
            file=sys.stderr,
        )
    print(f"{counts}: {flags.out}")
    return int(counts.failed > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.phrases", description="Writes phrases for a dataset's objects."
    )
    parser.add_argument("--mode", required=True, choices=MODES)
    add_dataset_flags(parser)
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--captions", default="", help="a captioner's JSON, of --mode=captions")
    parser.add_argument("--absent", type=int, default=2, help="phrases of an image that describe nothing; template")
    parser.add_argument("--val_share", type=float, default=0.1, help="part of the images that is the split val")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=0, help="only the first so many images by image id; 0 = all")
    return parser


def _check(flags: argparse.Namespace) -> None:
    if (flags.mode == "captions") != bool(flags.captions):
        raise InputError("--captions=FILE.json belongs to --mode=captions, which needs it")
    if not 0 <= flags.val_share <= 1:
        raise InputError(f"--val_share={flags.val_share} must be within 0 and 1")
    if flags.absent < 0 or flags.seed < 0:
        raise InputError(f"--absent={flags.absent}, --seed={flags.seed}: both must be 0 or more")


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
