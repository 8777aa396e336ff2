r"""Trains, annotates and trains again (SAM, section 4): each round trains on the masks of the round before.

  python -m experiments.annotate.rounds --config=configs/quickstart.py --rounds=3 --out=runs/rounds

Round 1 trains the config as it is. Then its model makes masks for the boxes of each training dataset of task boxes
(--datasets names some of these), OUT/annotations/round_1/DATASET, as `experiments.annotate --mode=boxes` does; round 2
trains on these masks in place of the boxes, from the start. The validation sets stay as they are. --config.x.y=z
applies to all rounds, --annotate.x=y is --x=y of experiments.annotate.

A round is a run of experiments.main in OUT/round_N, started as a sweep starts its variants. The same command after a
kill goes on where it was: a run at its checkpoint, annotations at their shard. OUT/rounds.md, .csv and .png have the
scores of the rounds. Exit status: 0 all rounds are done, 1 a run failed, 2 nothing could be done.
"""

import argparse
import dataclasses
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data.formats import NAMES_FILES
from data.readers.files import exists
from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.parser import positive
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.untrusted import boundary, json_object
from dataseg_jax.io.whole_files import write_whole
from experiments.annotate.options import COUNTS, OneLineParser
from experiments.runtime import settings
from experiments.runtime.commandline import stop
from experiments.runtime.settings import DatasetSettings
from experiments.sweep import local
from experiments.sweep.extras import require
from experiments.sweep.launch import overrides, program
from experiments.sweep.results import read_results
from experiments.sweep.variant_state import Variant, save_variants
from experiments.sweep.variants import checked, resolve

# What a round may set of `experiments.annotate`; model, images and output are its own.
MAY_SET = ("min_iou", "pred_iou_thresh", "stability_score_thresh", "min_box_iou", "batch_size", "shards", "workers",
           "parallel", "gpus", "text_encoder", "dataset", "audit")  # fmt: skip
_ANNOTATE = re.compile(r"--annotate\.(\w+)=(.*)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    flags, others = _parser().parse_known_args(arguments)
    try:
        require_local({"--out": flags.out})
        annotating = _annotating(others)
        shared = overrides([flag for flag in others if not _ANNOTATE.fullmatch(flag)])
        require("submitit", "matplotlib", "pandas")
        return _run(flags, shared, annotating)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        return 130


def _run(flags, shared: list[str], annotating: list[str]) -> int:
    base = [f"--config={flags.config}", *shared]
    config = resolve(base)
    if any("{world}" in d.root for d in config.datasets.values()) and not config.world.root:
        base.append(f"--config.world.root={Path(flags.out, 'world')}")  # One for all rounds.
    given = settings.from_config(resolve(base), flags.out)
    datasets = _boxes(given.datasets, flags.datasets)
    made: dict[str, dict] = {}
    for number in range(1, flags.rounds + 1):
        variant = round_variant(number, flags.out, base, datasets)
        save_variants([variant])
        if not local.run([variant], flags.out, gpus=flags.gpus, program=program(flags)):
            _summarise(flags.out, made)
            print(f"{variant.name} failed; the same command tries it again", file=sys.stderr)
            return 1
        if number < flags.rounds:
            counts = [_annotate(variant, flags.out, number, dataset, annotating) for dataset in datasets]
            made[f"round_{number + 1}"] = _fields(counts)
    _summarise(flags.out, made)
    return 0


def round_variant(number: int, out: str, base: Sequence[str], datasets: Sequence[DatasetSettings]) -> Variant:
    """The run of a round, from 1: the first is the config's own, others have masks for boxes in their datasets.

    Raises:
      InputError: the config cannot be used.
    """
    name, fields = f"round_{number}", {}
    for dataset in datasets if number > 1 else ():
        made = _folder(out, number - 1, dataset).absolute() / "instances.json"
        # The ids of categories and images stay the same, and so do vocabulary, part and limit.
        new = {"task": "instance", "format": "coco_instances", "annotations": str(made), "images": _images(dataset)}
        fields |= {f"datasets.{dataset.name}.{key}": value for key, value in new.items()}
    arguments = (*base, *(f"--config.{key}={value}" for key, value in fields.items()))
    workdir = Path(out, name)
    return Variant(number - 1, name, workdir, fields, arguments, checked(name, arguments, fields, workdir))


def _boxes(datasets: Sequence[DatasetSettings], names: str | None) -> list[DatasetSettings]:
    """The datasets whose boxes get masks."""
    known = {d.name: d for d in datasets if d.task == "boxes" and d.format == "coco_boxes" and d.ratio}
    chosen = names.split(",") if names else list(known)
    wrong = [name for name in chosen if name not in known]
    if wrong or not chosen:
        what = f"--datasets={names}: {wrong[0]} is none of these" if wrong else "the config has none"
        raise InputError(
            f"{what}; rounds need a training dataset of task boxes and format coco_boxes ({', '.join(known)})"
        )
    for name in chosen:
        if "," in known[name].vocabulary:
            raise InputError(
                f"config.datasets.{name}.vocabulary={known[name].vocabulary!r}: give the path of a names file"
            )
    return [known[name] for name in chosen]


def _images(dataset: DatasetSettings) -> str:
    """The folder of the images, where the format's own name or one of several counts."""
    places = (dataset.images or "images").split("|")
    return next((place for place in places if exists(dataset.root, place)), places[0])


def _folder(out: str, number: int, dataset: DatasetSettings) -> Path:
    return Path(out, "annotations", f"round_{number}", dataset.name)


def _annotate(variant: Variant, out: str, number: int, dataset: DatasetSettings, more: Sequence[str]) -> dict:
    """Has the model of a round make the masks of a dataset, in a process that gives the accelerator back; what is
    there already is not made again. Returns the content of `COUNTS`."""
    folder, root = _folder(out, number, dataset), Path(dataset.root)
    record = folder / COUNTS
    if not record.exists():
        places = (dataset.annotations or "boxes.json").split("|")
        boxes = next((place for place in places if exists(dataset.root, place)), places[0])
        flags = [f"--workdir={variant.workdir}", f"--images={root / _images(dataset)}", f"--annotations={root / boxes}"]
        own = next((str(root / name) for name in NAMES_FILES if exists(dataset.root, name)), "")
        if dataset.vocabulary or own:
            flags.append(f"--vocabulary={dataset.vocabulary or own}")
        if dataset.limit:
            flags.append(f"--limit={dataset.limit}")
        command = [sys.executable, "-m", "experiments.annotate", "--mode=boxes", *flags, *more, f"--out={folder}"]
        print(f"{variant.name}: masks for the boxes of {dataset.name}", flush=True)
        status = _status(command)
        if status not in (0, 1):  # 1: of some images, which it has reported.
            raise InputError(f"{folder}: the annotations of {dataset.name} were not made; the same command continues")
    return json_object(record, "record of annotations")


def _status(command: Sequence[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL).returncode


def _fields(records: Sequence[dict]) -> dict:
    """What a round was trained on, for the table."""
    with boundary(COUNTS, "is damaged; remove it"):
        masks = sum(record["counts"]["masks"] for record in records)
        images = sum(record["counts"]["images"] for record in records)
        fields = {"masks made": masks, "in images": images}
        shares = [record["audit"]["above_75"] for record in records if "audit" in record]
        if shares and None not in shares:
            fields["above .75 IoU"] = f"{100 * sum(shares) / len(shares):.1f}%"
    return fields


def _summarise(out: str, made: dict[str, dict]) -> None:
    """Writes the tables, and prints the first."""
    from experiments.sweep import summary

    results = [dataclasses.replace(result, overrides=made.get(result.name, {})) for result in read_results(out)]
    table = summary.markdown(results)
    write_whole(Path(out, "rounds.md"), table + "\n")
    write_whole(Path(out, "rounds.csv"), summary.csv_text(results))
    summary.plot(results, Path(out, "rounds.png"))
    print(f"\n{table}\n\nwritten: {Path(out, 'rounds.md')}", flush=True)


def _annotating(arguments: Sequence[str]) -> list[str]:
    """--annotate.x=y as --x=y. Raises InputError for what a round sets itself."""
    flags = []
    for argument in arguments:
        found = _ANNOTATE.fullmatch(argument)
        if found and found[1] not in MAY_SET:
            raise InputError(f"{argument}: of experiments.annotate, rounds take {', '.join(MAY_SET)}")
        flags += [f"--{found[1]}={found[2]}"] if found else []
    return flags


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m experiments.annotate.rounds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, help="config file with a dataset of task boxes")
    add("--rounds", type=positive, default=2, help="how often to train")
    add("--out", required=True, help="folder of all rounds")
    add("--datasets", help="training datasets to make masks for, joined by commas (all of task boxes)")
    add("--gpus", type=positive, help="GPUs of each run (all)")
    add("--program", help="command to start instead of experiments.main of this Python")
    return parser


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
