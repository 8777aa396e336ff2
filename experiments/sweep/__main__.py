r"""Runs every variant of a config's `sweep()`, and writes a table and a plot of their scores.

  python -m experiments.sweep --config=configs/quickstart.py --out=runs/sweep --parallel=2
  python -m experiments.sweep --config=configs/quickstart.py --out=runs/sweep --executor=slurm --gpus=1 --hours=4
  python -m experiments.sweep --config=configs/quickstart.py --out=/runs/sweep --executor=jobset \
      --image=REGISTRY/IMAGE --claim=shared > sweep.yaml
  python -m experiments.sweep --out=runs/sweep --gather

--config.x.y=z applies to all variants. The same command again runs only what is missing: finished variants are skipped,
stopped ones continue from their checkpoint, failed ones are tried again. The folder then holds sweep.md, sweep.csv and
sweep.png, and one folder per variant.
"""

import argparse
import dataclasses
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.commands.parser import positive
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole
from dataseg_jax.results.markup import as_line
from experiments.runtime.commandline import stop
from experiments.sweep import jobset
from experiments.sweep.attempt import Attempt
from experiments.sweep.extras import require
from experiments.sweep.launch import add_flags, launch, overrides, program, refuse_others
from experiments.sweep.results import read_results
from experiments.sweep.variant_state import finished, save_variants

# Flags that only some executors have.
OWN_FLAGS = {
    "local": ("parallel", "gpus", "program"),
    "slurm": ("parallel", "gpus", "program", "partition", "cpus", "memory", "hours", "nodes", "sbatch"),
    "jobset": ("parallel", "gpus", "cpus", "memory", "nodes", "image", "claim", "mount", "tpus", "tpu_type",
               "tpu_topology", "retries"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 1 if a variant failed, else 0."""
    parser = _parser()
    flags, others = parser.parse_known_args(arguments)
    try:
        require_local({"--out": flags.out})
        shared = overrides(others)
        return _gather(flags.out) if flags.gather else _run(flags, shared)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        return 130


def _run(flags, shared: list[str]) -> int:
    from experiments.sweep.variants import read  # Imports JAX, which --gather does not need.

    if not flags.config:
        raise InputError("--config is missing")
    refuse_others(flags, OWN_FLAGS)
    variants = read(flags.config, flags.out, shared)
    if flags.variant:
        return _one(flags.variant, variants, program(flags))
    if flags.executor == "jobset":
        return _jobset(flags, shared, len(variants))
    require("submitit", "matplotlib", "pandas")
    save_variants(variants)
    if launch(variants, flags.out, flags):
        return _gather(flags.out)
    print(f"--gather --out={flags.out} shows their progress", flush=True)
    return 0


def _one(which: str, variants, command) -> int:
    """Runs one variant in the foreground, as a pod does."""
    chosen = [v for v in variants if which in (v.name, str(v.index))]
    if not chosen:
        raise InputError(
            f"--variant={which}: give 0 to {len(variants) - 1}, or one of {', '.join(v.name for v in variants)}"
        )
    variant = chosen[0]
    save_variants([variant])
    rank = "JOB_COMPLETION_INDEX" if "VARIANT" in os.environ else ""
    attempt = Attempt(variant, command, rank_variable=rank)

    def called_off(number, frame):
        attempt.stop()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, called_off)
    status = attempt()
    print((variant.workdir / "log.txt").read_text(), end="", flush=True)
    return 0 if finished(variant.workdir) else abs(status) or 1


def _jobset(flags, shared, count) -> int:
    import yaml

    if not flags.image or not flags.claim:
        raise InputError("--executor=jobset needs --image and --claim")
    names = [field.name for field in dataclasses.fields(jobset.Pods)]
    given = {name: getattr(flags, name, None) for name in names} | {"hosts": flags.nodes}
    pods = jobset.Pods(**{name: value for name, value in given.items() if value is not None})
    arguments = (f"--config={flags.config}", *shared)
    print(yaml.safe_dump(jobset.manifest(arguments, count, flags.out, pods, flags.parallel), sort_keys=False), end="")
    return 0


def _gather(out: str) -> int:
    require("matplotlib", "pandas")
    from experiments.sweep import summary

    results = read_results(out)
    folder = Path(out)
    table = summary.markdown(results)
    write_whole(folder / "sweep.md", table + "\n")
    write_whole(folder / "sweep.csv", summary.csv_text(results))
    written = ["sweep.md", "sweep.csv", *(["sweep.png"] if summary.plot(results, folder / "sweep.png") else [])]
    print(f"\n{table}\n\nwritten: {', '.join(str(folder / name) for name in written)}", flush=True)
    stopped = [result for result in results if result.state == "stopped"]
    for result in stopped:
        print(
            f"{result.name} stopped: {as_line(result.note)}; log in {folder / result.name / 'log.txt'}",
            file=sys.stderr,
        )
    if stopped:
        print(f"{len(stopped)} of {len(results)} variants stopped; the same command tries them again", file=sys.stderr)
    return 1 if stopped else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", help="config file with a sweep()")
    add("--out", required=True, help="folder of the sweep")
    add("--executor", choices=OWN_FLAGS, default="local", help="this machine, SLURM, or a manifest for Kubernetes")
    add("--gather", action="store_true", help="only write the table and plot of the variants finished so far")
    add("--variant", help="only run this variant, given by name or number, in this process")
    add_flags(parser)
    add("--image", help="container image whose working directory is a clone")
    add("--claim", help="PersistentVolumeClaim that all pods can write")
    add("--mount", help="where pods mount the claim; --out lies below it (/runs)")
    add("--tpus", type=positive, help="TPU chips per host")
    add("--tpu_type", help="GKE's name of the TPUs: tpu-v5-lite-podslice")
    add("--tpu_topology", help="GKE's topology of the slice: 2x4")
    add("--retries", type=positive, help="new attempts per failed variant (3)")
    return parser


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
