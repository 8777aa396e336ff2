"""Makes the shards that the flags ask for and that are not there yet, in this process or in several."""

import argparse
import dataclasses

from dataseg_jax.errors import InputError
from experiments.annotate.annotation import Counts
from experiments.annotate.images import open_images
from experiments.annotate.models.open import identity, kind, open_annotator
from experiments.annotate.options import merging, settings
from experiments.annotate.shards.plan import Plan, read_plan, settle, usual_shards
from experiments.annotate.shards.write import make_shards
from experiments.annotate.workers.launch import launch_workers


@dataclasses.dataclass(frozen=True)
class Made:
    """Attributes:
    plan: of the folder.
    whole: whether all shards are there, as they were asked for.
    line: what was done, where they are not.
    failed: images that could not be read, of the shards made by this process.
    """

    plan: Plan
    whole: bool
    line: str = ""
    failed: int = 0


def make(options: argparse.Namespace) -> Made:
    """Makes the shards of `options`, as `options.parse` gives them.

    Raises:
      InputError: bad input, or the folder was begun with other settings.
    """
    asked = kind(options)  # Before a file of boxes is read, which may take minutes.
    source, categories, digest = open_images(options)
    about = {"mode": options.mode, "kind": asked, **identity(options), "settings": settings(options, asked)}
    about |= {"inputs": digest, "own_ids": source.own_ids}
    plan = Plan(len(source), _shards(options, len(source)), about, categories)
    if options.workers > 1 and options.worker is None:
        settle(plan, options.out)
        if launch_workers(options, plan):
            return Made(plan, whole=True)
        return Made(plan, False, f"{merging(options)} joins the shards when they are there")
    chosen = _chosen(options, plan)
    due = [shard for shard in chosen if not plan.file(options.out, shard).exists()]
    annotator = open_annotator(options, source) if due else None  # Before the folder is made: it may be unusable.
    settle(plan, options.out)
    beside = options.records, options.overlay
    counts = make_shards(plan, due, options.out, source, annotator, *beside) if due else Counts()
    if options.shard is None and options.worker is None:
        return Made(plan, whole=True)
    line = f"{counts.line(asked == 'proposals')}: {len(due)} of {plan.shards} shards below {options.out}"
    return Made(plan, False, line, counts.failed)


def _shards(options: argparse.Namespace, images: int) -> int:
    found = read_plan(options.out)
    shards = options.shards or (found.shards if found else usual_shards(images))
    if options.shards and shards > images:
        raise InputError(f"--shards={shards}: there are {images} images, and each shard needs one at least")
    return shards


def _chosen(options: argparse.Namespace, plan: Plan) -> range:
    """The shards that this process is asked for."""
    if options.shard is None:
        return range(options.worker or 0, plan.shards, options.workers)
    if options.shard >= plan.shards:
        raise InputError(f"--shard={options.shard}: give 0 to {plan.shards - 1}, as there are {plan.shards} shards")
    return range(options.shard, options.shard + 1)
