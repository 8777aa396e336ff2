"""Label Studio's JSON export as a dataset of COCO's form.

    python -m data.exchange --export=project-1.json --images=YARD/images --out=YARD/instances.json

The images stay where they are. Exit status: 0 it is written, 2 bad input.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from data.exchange.label_studio import read_export, to_coco
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status. Bad input is one line on stderr."""
    flags = _parser().parse_args(arguments)
    try:
        _convert(flags)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or flags.out}: cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    return 0


def _convert(flags: argparse.Namespace) -> None:
    require_local({f"--{name}": getattr(flags, name) for name in ("export", "images", "out")})
    if not os.path.isdir(flags.images):
        raise InputError(f"--images={flags.images}: no such folder")
    export = read_export(flags.export, flags.images, flags.key)
    labels = [label.strip() for label in flags.labels.split(",") if label.strip()]
    if len(set(labels)) < len(labels):
        raise InputError(f"--labels={flags.labels}: a label is there twice")
    document, form = to_coco(export, labels, flags.rectangles)
    write_whole(flags.out, json.dumps(document))
    counts = [f"{count} {what}" for what, count in export.left_out.items() if count]
    print(
        f"{flags.out}: {len(document['images'])} images, {len(document['annotations'])} annotations of "
        f"{len(document['categories'])} categories" + (f"; left out: {', '.join(counts)}" if counts else "")
    )
    root = os.path.dirname(os.path.abspath(flags.out))
    images = os.path.relpath(flags.images, root)
    print(f"check it: python -m data.validate --format={form} --root={root} --images={images} "
          f"--annotations={os.path.basename(flags.out)}")  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.exchange", description=__doc__.partition("\n")[0])
    parser.add_argument("--export", required=True, help="file of Label Studio's export as JSON")
    parser.add_argument("--images", required=True, help="folder of the images")
    parser.add_argument("--out", required=True, help="COCO JSON to write")
    parser.add_argument("--key", default="image", help="of the tasks' data that holds the image")
    parser.add_argument("--labels", default="", help="categories in their order, commas between; left out: by name")
    parser.add_argument("--rectangles", choices=("fill", "drop"), default="", help="beside masks")
    return parser


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
