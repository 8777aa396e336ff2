"""Trains the unfinished runs of tables: checks the datasets' folders, prints the cost, then starts the runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.errors import InputError
from experiments.sweep.extras import require
from experiments.sweep.launch import launch
from experiments.sweep.results import steps_done
from experiments.sweep.variant_state import Variant, finished, save_variants
from experiments.sweep.variants import resolve
from experiments.tables import cost, holdout, one_hot
from experiments.tables.design import POOL, Setting, Table
from experiments.tables.mqformer.runs import FamilyPlan, keep_reasons, leave_out, runnable
from experiments.tables.mqformer.scales import FamilyScale
from experiments.tables.runs import DATASET_FLAG, Plan
from experiments.tables.scales import Scale

RESULTS = "results.json"


def train(
    flags,
    scale: Scale,
    wanted: Sequence[Table],
    seeds: Sequence[int],
    shared: Sequence[str],
) -> bool:
    """Runs what is missing and waits for it; returns whether there are results to show.

    Args:
      flags: of the command line.
      scale, wanted, seeds: the tables, and the seeds of their runs.
      shared: --config.x.y=z of all runs.

    Raises:
      InputError: before anything starts: a dataset's folder is missing, or a run is invalid or was begun with other
        values.
    """
    _require_roots(scale, wanted, shared)
    of_family = isinstance(scale, FamilyScale)
    settings = list(dict.fromkeys(setting for table in wanted for setting in table.settings()))
    backbones = list(dict.fromkeys(setting.backbone for setting in settings))
    if scale.holds_out:
        whole = _with_files(scale, shared)
        given = {name: fields for name, fields in whole.datasets.items() if fields.root}
        scored = tuple(name for name in scale.home if name in given)
        shared = (*shared, *holdout.write(flags.out, given, scored))
        if of_family:
            shared += tuple(leave_out(flags.out, shared))
    plan = (FamilyPlan if of_family else Plan)(scale, flags.out, tuple(shared), flags.steps)
    if of_family:
        wished = settings
        settings, reasons = runnable(plan, wished)
        for name, reason in reasons.items():
            print(f"{name}: cannot be run: {reason}", flush=True)
        if not flags.dry_run:
            keep_reasons(flags.out, wished, reasons)
    if any(setting.variant == one_hot.NAME for setting in settings):
        one_hot.write(flags.out, plan.whole(backbones[0]))
    variants = plan.variants(settings, seeds)
    times = _times(flags, plan, backbones) if variants else {}
    for line in cost.estimate(variants, times, "GPU" if scale.accelerated else "device"):
        print(line, flush=True)
    if flags.dry_run:
        for variant in variants:
            print(f"{variant.name}: {' '.join(variant.arguments)} --workdir={variant.workdir}")
        return False
    if not variants:
        return True
    require("submitit", "matplotlib", "pandas")
    save_variants(variants)
    _score_again(variants)
    out = str(Path(flags.out, POOL))
    done, total = sum(map(steps_done, variants)), sum(variant.config["steps"] for variant in variants)
    ready = sum(finished(variant.workdir) for variant in variants)
    print(f"{ready} of {len(variants)} runs finished, {done:,} of {total:,} steps", flush=True)
    here = launch(variants, out, flags)
    if not here:
        print("--gather shows their progress", flush=True)
    return here


def _require_roots(scale: Scale, wanted: Sequence[Table], shared: Sequence[str]) -> None:
    given = dict(flag.split("=", 1) for flag in shared)
    needed = [f"--config.datasets.{name}.root" for name in scale.roots]
    if any(table.name == "3" for table in wanted):
        needed += [f"--config.validation.{name}.root" for name in scale.transfer_roots]
    missing = [flag for flag in needed if not given.get(flag)]
    if missing:
        raise InputError(
            f"the folders of some datasets are missing; give {' '.join(f'{flag}=DIR' for flag in missing)}"
        )
    if isinstance(scale, FamilyScale):  # What is not given is left out; see `runnable`.
        needed = [flag for flag in given if DATASET_FLAG.fullmatch(f"{flag}=") and flag.endswith(".root")]
    for flag in needed:
        if not os.path.isdir(given[flag]):
            raise InputError(f"{flag}={given[flag]}: there is no such folder")


def _with_files(scale: Scale, shared: Sequence[str]):
    """The config of all datasets of which images are held out, or left out because another holds them out."""
    config = scale.configs[scale.backbones[0]]
    if isinstance(scale, FamilyScale):
        config = f"{config}:datasets={'+'.join((*scale.whole, *scale.made_of_files))}"
    known = set(resolve((f"--config={config}",)).datasets)
    found = [(flag, DATASET_FLAG.fullmatch(flag)) for flag in shared]
    usable = [flag for flag, match in found if not match or match[1] == "datasets" and match[2] in known]
    return resolve((f"--config={config}", *usable))


def _times(flags, plan: Plan, backbones: Sequence[str]) -> dict[str, cost.StepTime]:
    """Backbone -> time of a step, for the paper's models and wherever --step_seconds is given."""
    if flags.step_seconds:
        return cost.given(flags.step_seconds, backbones)
    if not plan.scale.accelerated:
        return {}
    times = {backbone: cost.measure(plan.flags(Setting(backbone))) for backbone in backbones}
    if None not in times.values():
        return times
    if not flags.dry_run:
        raise InputError("no accelerator here to measure a step on; give --step_seconds=S")
    print("cost: unknown, as there is no accelerator here to measure a step on; give --step_seconds=S")
    return {}


def _score_again(variants: Sequence[Variant]) -> None:
    """Makes the next attempt evaluate finished runs that lack a score, from their checkpoints and without training."""
    for variant in variants:
        results = variant.workdir / RESULTS
        if not finished(variant.workdir):
            continue
        lacking = sorted(set(variant.config["validation"]) - set(json.loads(results.read_text())["scores"]))
        if lacking:
            results.replace(results.with_name("results_before.json"))
            print(f"{variant.name}: is scored again, for {', '.join(lacking)}", flush=True)
