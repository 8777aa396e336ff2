"""Joins shards to one file, or adds up what they say of themselves; an annotation at a time is in memory."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from data.readers.coco.json_stream import stream
from dataseg_jax.errors import InputError
from dataseg_jax.io.untrusted import boundary
from dataseg_jax.io.whole_files import whole_file
from experiments.annotate.annotation import Counts
from experiments.annotate.shards.plan import FOLDER, Plan


def merge(plan: Plan, out: str | os.PathLike) -> tuple[list[Path], Counts]:
    """Writes OUT/instances.json of all shards, whole or not at all; the entries are those of the shards as they stand.

    Returns:
      The path in a list, and what became of all images.

    Raises:
      InputError: a shard is missing or damaged, or is one of other settings, or the file cannot be written.
    """
    _require_all(plan, out)
    path = Path(out, "instances.json")
    counts = Counts()
    try:
        with whole_file(path) as file, tempfile.TemporaryFile(dir=out) as images:
            annotations, listed = _Joined(file), _Joined(images)
            file.write(b'{"annotations": [')
            for shard in range(plan.shards):
                counts.add(_read(plan, out, shard, listed, annotations))
            file.write(b'\n], "images": [')
            images.seek(0)
            shutil.copyfileobj(images, file)
            rest = {"categories": plan.categories, "info": {**plan.about, "counts": vars(counts)}}
            file.write(b"\n], " + json.dumps(rest).encode()[1:] + b"\n")
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be written ({error.strerror})") from None
    return [path], counts


def add_up(plan: Plan, out: str | os.PathLike) -> tuple[list[Path], Counts]:
    """As `merge`, where nothing is joined: with the paths of the shards."""
    _require_all(plan, out)
    counts = Counts()
    for shard in range(plan.shards):
        path = str(plan.file(out, shard))
        counts.add(_counts(stream(path, {"images": _skip, "annotations": _skip}), path, plan))
    return [plan.file(out, shard) for shard in range(plan.shards)], counts


def _skip(number: int, entry: Any, text: str) -> None:
    """Of a list that stays where it is."""


def _require_all(plan: Plan, out: str | os.PathLike) -> None:
    missing = plan.missing(out)
    if missing:
        raise InputError(
            f"{Path(out, FOLDER)}: {len(missing)} of {plan.shards} shards are missing, the first is "
            f"{plan.file(out, missing[0]).name}; the command that began them makes those alone"
        )


class _Joined:
    """Elements of a list, one a line."""

    def __init__(self, file):
        self._file, self._any = file, False

    def add(self, text: str) -> None:
        self._file.write((b",\n" if self._any else b"\n") + text.encode())
        self._any = True


def _read(plan: Plan, out, shard: int, images: _Joined, annotations: _Joined) -> Counts:
    path = plan.file(out, shard)

    def visit(into: _Joined):
        return lambda number, entry, text: into.add(text)

    rest = stream(str(path), {"images": visit(images), "annotations": visit(annotations)})
    return _counts(rest, str(path), plan)


def _counts(rest: dict[str, Any], where: str, plan: Plan) -> Counts:
    """Of a shard's `info`. Raises InputError: damaged, or the shard was made with other settings."""
    with boundary(where, "is damaged; remove it, and the command that made it makes it again"):
        counts = Counts(**rest["info"]["counts"])
        Counts().add(counts)  # Numbers, all of them.
        about = {key: rest["info"].get(key) for key in plan.about}
    if about != json.loads(json.dumps(plan.about)):
        raise InputError(f"{where}: was made with other settings than its plan; remove it, and have it made again")
    return counts
