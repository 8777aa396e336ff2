"""Which training images to leave out because they are scored elsewhere: the leakage between COCO, LVIS, RefCOCO, VG.

    python -m data.exclusions --coco_train=COCO/annotations/instances_train2017.json \
        --coco_val=COCO/annotations/instances_val2017.json --lvis_train=COCO/annotations/lvis_v1_train.json \
        "--refs=REFER/refcoco/refs(unc).p" "--refs=REFER/refcocog/refs(umd).p" \
        --visual_genome=VG/image_data.json --out=EXCLUSIONS

prints for every training set and every scored set how many images both have, and writes for each training set the ids
to leave out, one a line: EXCLUSIONS/coco_train.txt is `--config.datasets.coco.exclude=EXCLUSIONS/coco_train.txt`.

The rules are those of MQ-Former (supplement, C): images of validation parts of referring sets are left out of COCO and
LVIS, and images of COCO val2017 out of the training parts of referring sets. ours: test parts count as validation
parts do; Visual Genome is treated as both, since its coco_id tells which of its images are COCO's; and with
--across, the training part of one referring set lacks what any referring set is scored on.

COCO numbers its images alike in 2014 and 2017, so ids are compared.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from data.readers.coco.entries import load_image
from data.readers.coco.json_stream import stream
from data.readers.phrases.refs import read_refs
from data.readers.phrases.visual_genome import read_images
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole

TRAIN = "train"  # The split of refs that is trained on; all others are scored.
COCO, LVIS, REFERRING, GENOME = "COCO", "LVIS", "referring", "Visual Genome"
# Kind of a training set -> kinds of scored sets whose images it must not have.
RULES = {COCO: {REFERRING}, LVIS: {REFERRING}, REFERRING: {COCO}, GENOME: {REFERRING, COCO}}


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """The images of one part of a dataset.

    Attributes:
      name: of the part, such as refcocog_val.
      kind: a key of `RULES`.
      file: where it comes from.
      images: the dataset's own ids of its images -> COCO's ids; of Visual Genome those without are not here.
      count: number of all its images.
      trained: whether it is to be trained on; others are scored.
    """

    name: str
    kind: str
    file: str
    images: dict[int, int]
    count: int
    trained: bool


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """What a training set loses.

    Attributes:
      training: the set.
      shared: for every scored set, how many of the training set's images it has, and whether a rule removes them.
      ids: the training set's own ids of all images that are removed, sorted.
    """

    training: ImageSet
    shared: tuple[tuple[ImageSet, int, bool], ...]
    ids: tuple[int, ...]

    @property
    def stay(self) -> int:
        return self.training.count - len(self.ids)


def exclusions(sets: Iterable[ImageSet], across: bool = False) -> list[Exclusion]:
    """What each training set loses to the scored sets; `across`: referring sets to referring sets too."""
    sets = list(sets)
    scored = [(other, set(other.images.values())) for other in sets if not other.trained]
    found = []
    for one in (one for one in sets if one.trained):
        kinds = RULES[one.kind] | ({REFERRING} if across else set())
        lost: set[int] = set()
        shared = []
        for other, images in scored:
            common = {own for own, coco in one.images.items() if coco in images}
            shared.append((other, len(common), other.kind in kinds))
            if other.kind in kinds:
                lost |= common
        found.append(Exclusion(one, tuple(shared), tuple(sorted(lost))))
    return found


def coco_images(name: str, kind: str, file: str, trained: bool) -> ImageSet:
    """The images of a COCO-style JSON (COCO's instances, captions and panoptic files, LVIS). Raises InputError."""
    ids: set[int] = set()

    def add(number: int, entry: Any, _: str) -> None:
        ids.add(load_image(file, number, entry, key="").image_id)

    stream(file, {"images": add, "annotations": lambda *_: None})
    return ImageSet(name, kind, file, {image: image for image in ids}, len(ids), trained)


def referring_images(file: str) -> list[ImageSet]:
    """The images of each split of a file of refs, named by its folder and the split. Raises InputError."""
    of_split: dict[str, set[int]] = {}
    for ref in read_refs(file):
        of_split.setdefault(ref.split, set()).add(ref.image_id)
    folder = os.path.basename(os.path.dirname(os.path.abspath(file)))
    return [
        ImageSet(f"{folder}_{split}", REFERRING, file, {image: image for image in ids}, len(ids), split == TRAIN)
        for split, ids in of_split.items()
    ]


def genome_images(name: str, file: str) -> ImageSet:
    """The images of Visual Genome's image_data.json. Raises InputError."""
    images, coco_id_of = read_images(file)
    return ImageSet(name, GENOME, file, coco_id_of, len(set(images.ids.tolist())), True)


def report(found: Sequence[Exclusion]) -> str:
    """Lines of every training set: what it shares with each scored set, what is removed and what stays."""
    lines = []
    for one in found:
        name = one.training.name
        lines.append(f"{name}: {one.training.count:,} images, {len(one.ids):,} removed, {one.stay:,} stay")
        for other, count, removed in one.shared:
            what = "removed" if removed else "no rule removes them"
            lines.append(f"  {count:>9,} shared with {other.name} ({len(other.images):,} images): {what}")
    return "\n".join(lines)


def write(found: Sequence[Exclusion], folder: str) -> list[str]:
    """Writes the ids of each training set into `folder`, and gives the paths."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for one in found:
        names = ", ".join(other.name for other, _, removed in one.shared if removed) or "no set"
        head = f"# {len(one.ids)} of {one.training.count} images of {one.training.name}: those in {names}"
        paths.append(os.path.join(folder, f"{one.training.name}.txt"))
        write_whole(paths[-1], "\n".join([head, *map(str, one.ids), ""]))
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    flags = _parser().parse_args(arguments)
    try:
        require_local({f"--{key}": value for key, value in vars(flags).items() if isinstance(value, str)})
        found = exclusions(_sets(flags), flags.across)
        print(report(found))
        if flags.out:
            print("\n".join(f"wrote {path}" for path in write(found, flags.out)))
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _sets(flags: argparse.Namespace) -> list[ImageSet]:
    referring = [part for file in flags.refs for part in referring_images(file)]
    names = [part.name for part in referring]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"--refs: two files have a part {twice}; parts are called by the folder of their file")
    sets = [coco_images("coco_train", COCO, flags.coco_train, True)] if flags.coco_train else []
    sets += [coco_images("coco_val", COCO, flags.coco_val, False)] if flags.coco_val else []
    sets += [coco_images("lvis_train", LVIS, flags.lvis_train, True)] if flags.lvis_train else []
    sets += referring
    sets += [genome_images("visual_genome", flags.visual_genome)] if flags.visual_genome else []
    if len({part.trained for part in sets}) < 2:
        raise InputError("give files of sets to train on, and of sets that are scored; --help lists them")
    return sets


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.exclusions", description=__doc__.splitlines()[0])
    parser.add_argument("--coco_train", default="", help="COCO's instances, captions or panoptic JSON for training")
    parser.add_argument("--coco_val", default="", help="the same of the images that are scored")
    parser.add_argument("--lvis_train", default="", help="LVIS's JSON for training")
    parser.add_argument("--refs", action="append", default=[], help="refs of a referring set; may be given repeatedly")
    parser.add_argument("--visual_genome", default="", help="Visual Genome's image_data.json")
    parser.add_argument("--across", action="store_true", help="referring sets also lack what referring sets score")
    parser.add_argument("--out", default="", help="folder for the lists of ids; left out: counts are printed alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
