"""Starts the workers of an annotation as a sweep starts its variants: here, or as a job array on SLURM."""

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path

from dataseg_jax.errors import InputError
from experiments.annotate.options import worker_arguments
from experiments.annotate.shards.plan import Plan
from experiments.annotate.workers.run import FINISHED
from experiments.sweep.extras import require
from experiments.sweep.launch import launch
from experiments.sweep.variant_state import Variant, save_variants

FOLDER = "workers"  # Below OUT: a folder for each worker, with its log.
PROGRAM = shlex.join([sys.executable, "-m", "experiments.annotate.workers.run"])


def launch_workers(options: argparse.Namespace, plan: Plan) -> bool:
    """Has `options.workers` processes make the missing shards: waits for them here, and gives True; or queues them on
    SLURM, and gives False.

    Raises:
      InputError: a worker failed here, or as `experiments.sweep.launch.launch`.
    """
    if not plan.missing(options.out):
        return True
    require("submitit")
    variants = [_variant(options, plan, worker) for worker in range(options.workers)]
    for variant in variants:
        if set(range(variant.index, plan.shards, options.workers)) & set(plan.missing(options.out)):
            (variant.workdir / FINISHED).unlink(missing_ok=True)  # A shard was removed to be made again.
    save_variants(variants)
    given = {"program": options.program or PROGRAM, "parallel": options.parallel or options.workers}
    if not launch(variants, str(Path(options.out, FOLDER)), argparse.Namespace(**(vars(options) | given))):
        return False
    if plan.missing(options.out):
        raise InputError(f"{Path(options.out, FOLDER)}: a worker failed, see its log.txt; the same command continues")
    return True


def _variant(options: argparse.Namespace, plan: Plan, worker: int) -> Variant:
    name = f"{worker:04d}-of-{options.workers:04d}"
    images = sum(len(plan.block(shard)) for shard in range(worker, plan.shards, options.workers))
    # What a sweep calls steps are images here.
    config = json.loads(json.dumps({"steps": images, "plan": dataclasses.asdict(plan)}))
    arguments = tuple(worker_arguments(options, worker, plan.shards))
    return Variant(worker, name, Path(options.out, FOLDER, name), {}, arguments, config)
