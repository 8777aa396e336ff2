"""The flags that name a dataset, for the command lines of this package: by the catalogue, or by format and paths."""

import argparse

from data.catalogue import CATALOGUE, entry
from data.formats import FORMATS, find_vocabulary, open_source
from data.source import Source
from dataseg_jax.errors import InputError
from dataseg_jax.io.images import LIMITS, MOST_PIXELS, Limits
from dataseg_jax.io.local_paths import require_local

_PATHS = {
    "images": "folder or pattern of the images below --root",
    "annotations": "annotation file below --root",
    "masks": "folder or pattern of the masks below --root",
    "split": "file below --root that lists the names to use",
}


def add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --catalogue, --format, --root, --vocabulary, --name, the paths and --label_offset."""
    parser.add_argument("--catalogue", choices=CATALOGUE, metavar="NAME", help="a dataset of python -m data.catalogue")
    parser.add_argument("--format", choices=FORMATS, help="how the files are laid out, without --catalogue")
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--vocabulary", help="bundled vocabulary or names file; left out: the dataset's own names")
    parser.add_argument("--name", default="dataset", help="what to call the dataset in messages")
    for flag, meaning in _PATHS.items():
        parser.add_argument(f"--{flag}", help=meaning)
    parser.add_argument("--label_offset", type=int, help="value in label PNGs minus id in the vocabulary")
    parser.add_argument("--max_pixels", type=int, default=LIMITS.pixels, help="of an image, to be decoded")
    parser.add_argument("--max_bytes", type=int, default=LIMITS.bytes, help="of an image or mask file")


def require_local_flags(flags: argparse.Namespace) -> None:
    """Raises InputError for a path that is the address of an object store; `flags` may have an --out too."""
    require_local({f"--{key}": getattr(flags, key, None) for key in ("root", "out", "vocabulary", *_PATHS)})


def open_flagged(flags: argparse.Namespace, limit: int = 0) -> Source:
    """Opens the dataset that the flags name; what is given beside --catalogue replaces the entry's own.

    Raises:
      InputError: neither --catalogue nor --format is given, or as `find_vocabulary` and `open_source`.
    """
    if not 0 < flags.max_pixels <= MOST_PIXELS or flags.max_bytes < 1:
        raise InputError(
            f"--max_pixels={flags.max_pixels}, --max_bytes={flags.max_bytes}: both must be above 0, and OpenCV decodes "
            f"up to {MOST_PIXELS} pixels"
        )
    fields = entry(flags.catalogue).fields() if flags.catalogue else {}
    options = ("format", "vocabulary", *_PATHS, "label_offset")
    fields |= {key: getattr(flags, key) for key in options if getattr(flags, key) is not None}
    if "format" not in fields:
        raise InputError("give the dataset's --format, or its name in the --catalogue")
    format, given = fields.pop("format"), fields.pop("vocabulary", "")
    options = {key: value for key, value in fields.items() if key not in ("task", "truth")}
    vocabulary = find_vocabulary(given, format, flags.root, name=flags.name, annotations=fields.get("annotations", ""))
    limits = Limits(flags.max_bytes, flags.max_pixels)
    return open_source(format, flags.root, vocabulary, name=flags.name, limit=limit, limits=limits, **options)
