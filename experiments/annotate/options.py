"""The flags of `experiments.annotate`, and what of them decides the result."""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from dataseg_jax.commands.parser import OneLineParser, fraction, positive, whole
from dataseg_jax.commands.prompted.masks import RECIPES
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.sweep.launch import add_flags, refuse_others

MODES = ("boxes", "points", "automatic")
PATHS = ("weights", "workdir", "checkpoint", "annotations", "images", "out", "vocabulary", "audit")
COUNTS = "counts.json"  # Below OUT, when all is written: what became of the images, and the audit.
# Flags that only some executors have.
OWN_FLAGS = {"local": (), "slurm": ("partition", "cpus", "memory", "hours", "nodes", "sbatch")}
# What decides which annotations are made, beside the model and the images; by mode.
_OF_PROMPTS = ("pred_iou_thresh", "stability_score_thresh")
SETTINGS = {
    "proposals": ("min_iou", "dataset"),
    "boxes": (*_OF_PROMPTS, "min_box_iou"),
    "points": _OF_PROMPTS,
    "automatic": (*_OF_PROMPTS, "recipe", "points_per_side", "nms_thresh"),
}
_LAUNCHING = ("executor", "parallel", "program", "gpus", "workers", "worker", "shard", "merge", "sharded", "audit")


def parse(arguments: Sequence[str] | None, description: str) -> argparse.Namespace:
    """The options of a command line.

    Raises:
      InputError: they do not go together; what argparse refuses ends the program with status 2.
    """
    options = parser(description).parse_args(arguments)
    require_local({f"--{name}": getattr(options, name) for name in PATHS})
    refuse_others(options, OWN_FLAGS)
    if options.merge:
        return options
    for name in ("mode", "images") + (("annotations",) if options.mode != "automatic" else ()):
        if getattr(options, name) is None:
            raise InputError(f"--{name} is missing")
    models = [name for name in ("weights", "workdir", "checkpoint") if getattr(options, name) is not None]
    if len(models) != 1:
        raise InputError("give --weights, --workdir or --checkpoint, one of the three")
    if options.shard is not None and (options.worker is not None or options.workers > 1):
        raise InputError("--shard makes one shard in this process; leave --workers and --worker out")
    if options.worker is not None and not 0 <= options.worker < options.workers:
        raise InputError(f"--worker={options.worker}: give 0 to {options.workers - 1}, as there are --workers")
    if options.shard is not None and options.audit:
        raise InputError("--audit needs all shards; leave --shard out, or give --merge and --audit afterwards")
    return options


def parser(description: str) -> argparse.ArgumentParser:
    """Of the entry point."""
    made = OneLineParser(
        prog="python -m experiments.annotate",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = made.add_argument
    add("--mode", choices=MODES, help="masks from boxes, from points, or of everything")
    add("--weights", help="promptable weights: a file, a folder, or a name on the Hugging Face hub")
    add("--workdir", help="folder of a run; its newest checkpoint is used")
    add("--checkpoint", help="folder of a checkpoint, or a packed file")
    add("--images", help="folder of the images")
    add("--annotations", help="COCO-style JSON with boxes or points; automatic: with the images")
    add("--out", required=True, help="folder to write")
    add("--vocabulary", help="bundled name or names file, if not the names in --annotations")
    add("--limit", type=whole, default=0, help="only the first so many images by image id; 0 = all")
    add("--records", action="store_true", help="also write SA-1B's file for each image, OUT/records")
    add("--overlay", action="store_true", help="also write each image with its masks drawn on it, OUT/overlay")
    _add_filters(made)
    add("--text_encoder", help="encoder of the run's text space, for words that are not bundled")
    add("--dataset", help="for a run with dataset-specific modules: the dataset whose modules to use")
    add("--batch_size", type=positive, default=4, help="images per forward pass, of a model without prompts")
    add("--shards", type=positive, help="parts that the output is written in (one for each 200 images)")
    add("--shard", type=whole, help="make this one alone, from 0, and do not merge")
    add("--workers", type=positive, default=1, help="processes that share the shards")
    add("--worker", type=whole, help="be this one of --workers, from 0, and do not merge")
    add("--executor", choices=tuple(OWN_FLAGS), default="local", help="of --workers: this machine, or SLURM")
    add("--merge", action="store_true", help="only join the shards that are there")
    add("--sharded", action="store_true", help="leave the output in shards, each a dataset of its own")
    add("--audit", metavar="JSON", help="ground truth to compare the annotations with afterwards")
    add_flags(made)
    return made


def _add_filters(made: argparse.ArgumentParser) -> None:
    """The thresholds; their defaults are SAM's (section 4)."""
    add = made.add_argument
    add("--pred_iou_thresh", type=fraction, default=0.88, help="a mask's predicted IoU has to be above it")
    add("--stability_score_thresh", type=fraction, default=0.95, help="a mask's stability has to be at least this")
    add("--nms_thresh", type=fraction, default=0.7, help="automatic: boxes of duplicates have a larger IoU")
    # ours: between the .75 of a fair mask and the .9 of a good one, in SAM's own terms.
    add("--min_box_iou", type=fraction, default=0.8, help="boxes: IoU of a box with that of its mask, at least")
    add("--recipe", choices=RECIPES, default="sa_1b", help="automatic: with zoomed crops as SA-1B, or without")
    add("--points_per_side", type=positive, default=32, help="automatic: of the grid on the whole image")
    # `MIN_IOU` of inference/box_masks.py, which is slow to import.
    add("--min_iou", type=fraction, default=0.5, help="a model without prompts: IoU of a box with that of a proposal")


def settings(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """What decides the annotations of a kind, a key of `SETTINGS`."""
    return {name: getattr(options, name) for name in SETTINGS[kind]}


def worker_arguments(options: argparse.Namespace, worker: int, shards: int) -> list[str]:
    """The command line of one of `options.workers`, for as many shards."""
    defaults = parser("")
    launching = {*_LAUNCHING, *OWN_FLAGS["slurm"], "shards"}
    given = {k: v for k, v in vars(options).items() if k not in launching and v != defaults.get_default(k)}
    flags = [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]
    return [*flags, f"--shards={shards}", f"--workers={options.workers}", f"--worker={worker}"]


def merging(options: argparse.Namespace) -> str:
    """The command that joins the shards, for messages."""
    return f"python -m experiments.annotate --merge --out={shlex.quote(options.out)}"
