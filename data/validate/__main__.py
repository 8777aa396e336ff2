"""The command line: python -m data.validate --format=... --root=DIR, exit status 0 if the dataset is sound."""

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from data.example import Example
from data.formats.flags import add_dataset_flags, open_flagged, require_local_flags
from data.source import Source
from data.validate.dataset import validate_dataset
from data.validate.histogram import histogram
from data.validate.report import Report, to_json, to_markdown, to_text
from data.validate.sheet import contact_sheet
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.whole_files import whole_file, write_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status, 0 if the dataset is sound, 1 if not."""
    flags = _parser().parse_args(arguments)
    try:
        require_local_flags(flags)
        # A log file gets no progress in the first half minute, and then a line every half minute.
        seconds = 0.2 if sys.stderr.isatty() else 30
        with tqdm(unit=" images", mininterval=seconds, delay=seconds) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            report, source = validate_dataset(
                lambda: open_flagged(flags),
                title=f"{flags.name}: {flags.catalogue or flags.format} in {flags.root}",
                limit=flags.limit,
                workers=flags.workers,
                progress=progress,
            )
        if flags.out:
            _write(flags, report, source)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(to_text(report, flags.show))
    return int(report.errors > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.validate", description="Checks a dataset before a run.")
    add_dataset_flags(parser)
    parser.add_argument("--limit", type=int, default=0, help="look at so many images, evenly spread; 0 = all")
    parser.add_argument("--show", type=int, default=50, help="print at most so many problems; 0 = all")
    parser.add_argument("--out", default="", help="folder to write report.md, report.json and images to")
    parser.add_argument("--sheet", type=int, default=12, help="images on the contact sheet")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; 0 = threads of one")
    return parser


def _write(flags: argparse.Namespace, report: Report, source: Source | None) -> None:
    try:
        os.makedirs(flags.out, exist_ok=True)
        names = []
        if report.survey.summary.images:
            for page, image in enumerate(histogram(report.title, report.counts), start=1):
                names.append("histogram.png" if page == 1 else f"histogram_{page}.png")
                with whole_file(os.path.join(flags.out, names[-1])) as file:
                    image.save(file, format="PNG")
            examples = _examples(source, report.survey.unsound, flags.sheet)
            if examples:
                names.insert(0, "contact_sheet.png")
                with whole_file(os.path.join(flags.out, names[0])) as file:
                    contact_sheet(report.title, examples, source.vocabulary).save(file, format="PNG")
        for name, text in (("report.md", to_markdown(report, names)), ("report.json", to_json(report))):
            # Halves of characters, of file names that are no UTF-8, as JSON writes them.
            write_whole(os.path.join(flags.out, name), text.encode(errors="backslashreplace"))
    except OSError as error:
        raise InputError(f"--out={flags.out}: cannot be written ({error.strerror})") from error


def _examples(source: Source, unsound: frozenset[int], count: int) -> list[Example]:
    """Up to `count` sound images, evenly spread; those without targets only where there are too few with targets."""
    sound = [index for index in range(len(source)) if index not in unsound]
    picked = [sound[i] for i in np.linspace(0, len(sound) - 1, min(len(sound), 3 * count)).round().astype(int)]
    shown, bare = [], []
    # Every third first, so that the sheet spans the dataset whether or not some have no target.
    for index in picked[::3] + picked[1::3] + picked[2::3]:
        if len(shown) == count:
            break
        try:
            example = source[index]
        except InputError:  # With --limit, an image that was not looked at.
            continue
        (shown if len(example.labels) else bare).append((index, example))
    return [example for _, example in sorted((shown + bare)[:count], key=lambda pair: pair[0])]


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
