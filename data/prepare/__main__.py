"""Writes a dataset as ArrayRecord: large files for fast or shared storage, read as format array_record.

    python -m data.prepare --format=coco_panoptic --root=DIR --vocabulary=coco_panoptic --out=OUT --workers=8

The dataset is checked first. Killed half-way and run again, the command keeps the finished shards.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from data.catalogue import entry
from data.formats.flags import add_dataset_flags, open_flagged, require_local_flags
from data.prepare.packing import describe
from data.prepare.plan import enter, make_plan
from data.prepare.run import prepare
from data.readers import LAYOUTS
from data.source import Source
from data.validate import check
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError

_SHOWN = 10  # Problems to print.


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status, 0 if the dataset is complete."""
    flags = _parser().parse_args(arguments)
    try:
        require_local_flags(flags)
        _require(flags)
        source = open_flagged(flags, flags.limit)
        metadata = describe(source, _layout(source), flags.root)
        plan = make_plan(source, metadata, flags.root, flags.tfds_split, int(flags.shard_mb * 1e6))
        _say(f"{flags.out}: {len(source)} images, {sum(plan.sizes) / 1e9:.2f} GB, {len(plan)} shards")
        # The records of a dataset that was begun are those that were checked then.
        if not enter(flags.out, plan) and not _is_sound(source, flags.check):
            return 1
        licence, workers = flags.licence, flags.workers
        if not licence and flags.catalogue:
            licence = entry(flags.catalogue).origin.licence
        written = prepare(source, flags.root, flags.out, plan, workers=workers, licence=licence, say=_say)
    except (InputError, OSError) as error:  # OSErrors of --out itself: no permission, no space, a file instead.
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues, finished shards are kept", file=sys.stderr)
        return 130
    _say(f"{flags.out}: complete, {written} shards written")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description="Writes a dataset as ArrayRecord.")
    add_dataset_flags(parser)
    parser.add_argument("--out", required=True, help="folder to write, missing or empty at first")
    parser.add_argument("--tfds_split", default="train", help="what TFDS shall call the split")
    parser.add_argument("--limit", type=int, default=0, help="the first images by id; 0 = all")
    parser.add_argument("--licence", default="", help="licence of the data, kept beside it; left out: the catalogue's")
    parser.add_argument("--workers", type=int, default=2, help="processes that write")
    parser.add_argument("--shard_mb", type=float, default=256, help="size of a shard, in 10^6 bytes")
    parser.add_argument("--check", type=int, default=0, help="check so many images before, evenly spread; 0 = all")
    return parser


def _require(flags: argparse.Namespace) -> None:
    for key in ("name", "tfds_split"):
        value = getattr(flags, key)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", value):
            raise InputError(f"--{key}={value!r}: must be a letter, then letters, digits or _; files are called so")
    if flags.workers < 1 or not flags.shard_mb > 0:
        raise InputError(f"--workers={flags.workers}, --shard_mb={flags.shard_mb:g}: both must be above 0")


def _layout(source: Source) -> str:
    layout = next((name for name, kind in LAYOUTS.items() if type(source) is kind), "")
    if not layout:
        raise InputError(f"{source.name}: is prepared already; give a format of {', '.join(LAYOUTS)}")
    return layout


def _is_sound(source: Source, limit: int) -> bool:
    _say(f"checking {min(limit or len(source), len(source))} of {len(source)} images")
    problems = check(source, source.vocabulary, limit)
    fatal = [problem for problem in problems if problem.fatal]
    for problem in fatal[:_SHOWN]:
        print(f"error: {problem}", file=sys.stderr)
    if fatal:
        print(f"error: {len(fatal)} problems, nothing was written; see python -m data.validate", file=sys.stderr)
    elif problems:
        _say(f"{len(problems)} warnings, see python -m data.validate")
    return not fatal


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
