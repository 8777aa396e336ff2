"""Writes the datasets of a shapes world to a folder; the folder appears when all of them are complete."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import uuid

from tqdm import tqdm

from data.shapes.layouts import make_folders, write_index
from data.shapes.videos import write_videos
from data.shapes.worker import Chunk, write_chunks
from data.shapes.world import PARTS, World
from dataseg_jax.errors import InputError

FORMAT_VERSION = 2  # goes up whenever the same World would give other files
_CHUNK = 50
_OPTIONAL = ("referring", "foreground", "parts", "videos")


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many images: the train split of each dataset, and the val split of every one (`transfer` has no other).

    Of the sets `referring`, `foreground` and `parts` there may be none, and then they have no val split either.
    `videos` is the number of training videos in each of the two layouts of videos; a fourth as many are for validation.
    """

    panoptic: int = 4000
    semantic: int = 150
    boxes: int = 2000
    val: int = 200
    referring: int = 0
    foreground: int = 0
    parts: int = 0
    videos: int = 0

    def __post_init__(self):
        for name, count in dataclasses.asdict(self).items():
            least = 0 if name in _OPTIONAL else 1
            if count < least:
                raise InputError(f"Counts: {name} is {count}; choose {least} or more")

    def of(self, dataset: str, split: str) -> int:
        """Number of images of a split of a dataset."""
        if dataset in _OPTIONAL and not getattr(self, dataset):
            return 0
        return self.val if split == "val" else getattr(self, dataset)


def write_world(
    root: str | os.PathLike, world: World | None = None, counts: Counts | None = None, *, workers: int = 2
) -> pathlib.Path:
    """Writes the datasets of a world below `root`, or returns at once if exactly they are there already.

    The files are written to a hidden folder beside `root`, which takes its name when all is done: `root` is complete or
    absent. (Of a run that was killed outright, that folder, `.NAME.*.partial`, stays; it may be deleted.)

    Args:
      root: folder to create; `world.json` in it says what it was made from.
      world: constants of the drawing; `World()` if not given.
      counts: numbers of images; `Counts()` if not given.
      workers: helper processes; with 1 the caller draws. The files do not depend on it.

    Returns:
      `root` as an absolute path.

    Raises:
      InputError: if `root` exists and holds something else.
    """
    root = pathlib.Path(root).expanduser().resolve()
    world, counts = world or World(), counts or Counts()
    wanted = json.loads(json.dumps({
        "format_version": FORMAT_VERSION,
        "world": dataclasses.asdict(world),
        # What there is none of is left out: worlds from before these sets existed stay what they are.
        "counts": {name: count for name, count in dataclasses.asdict(counts).items() if count},
    }))  # fmt: skip
    if _is_there(root, wanted):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.parent / f".{root.name}.{uuid.uuid4().hex}.partial"
    try:
        make_folders(partial, [(dataset, split) for dataset, split in PARTS if counts.of(dataset, split)])
        _write_datasets(partial, world, counts, workers)
        if counts.videos:
            write_videos(partial, world, counts.videos, -(-counts.videos // 4))
        (partial / "world.json").write_text(json.dumps(wanted, indent=2) + "\n")
        try:
            partial.rename(root)
        except OSError:
            # Another process may have finished the same world first.
            if not _is_there(root, wanted):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return root


def _write_datasets(root: pathlib.Path, world: World, counts: Counts, workers: int) -> None:
    chunks = [
        Chunk(dataset, split, start, min(start + _CHUNK, counts.of(dataset, split)))
        for dataset, split in PARTS
        for start in range(0, counts.of(dataset, split), _CHUNK)
    ]
    total = sum(chunk.stop - chunk.start for chunk in chunks)
    entries = []
    # Closed before the caller clears the folder, so that no helper process writes into it any more.
    written = contextlib.closing(write_chunks(root, world, chunks, workers))
    with written as parts, tqdm(total=total, desc="shapes", unit=" images", mininterval=2) as bar:
        for chunk, drawn in zip(chunks, parts, strict=True):
            entries += drawn
            bar.update(len(drawn))
            if chunk.stop == counts.of(chunk.dataset, chunk.split):
                write_index(root, chunk.dataset, chunk.split, entries)
                entries = []


def _is_there(root: pathlib.Path, wanted: dict) -> bool:
    """Whether `root` holds the wanted world; False if nothing is there, InputError if something else is."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "world.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{root}: exists without a readable world.json; choose another folder") from error
    wanted_flat, found_flat = _flatten(wanted), _flatten(found)
    differing = [key for key in wanted_flat | found_flat if wanted_flat.get(key) != found_flat.get(key)]
    if differing:
        what = ", ".join(f"{key} is {found_flat.get(key)} and not {wanted_flat.get(key)}" for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(f"{root}/world.json: another shapes world ({what}{more}); choose another folder")
    return True


def _flatten(value: object, key: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name in value for k, v in _flatten(value[name], f"{key}.{name}" if key else name).items()}
