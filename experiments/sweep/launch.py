"""The flags of sweeps and tables that choose where and how runs are started."""

import argparse
import re
import shlex
from collections.abc import Sequence

from dataseg_jax.commands.parser import positive
from dataseg_jax.errors import InputError
from experiments.sweep import local, slurm
from experiments.sweep.attempt import MAIN
from experiments.sweep.variant_state import Variant

_RESOURCES = ("partition", "gpus", "cpus", "memory", "hours", "nodes")


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--parallel", type=positive, help="runs at once (default: 1 on this machine, all on a cluster)")
    add("--program", help="command to start instead of experiments.main of this Python, such as one in a container")
    add("--gpus", type=positive, help="GPUs per run, or per host of a run")
    add("--nodes", type=positive, help="hosts per run")
    add("--cpus", help="processor cores per host")
    add("--memory", help="memory per host: 64G (SLURM), 64Gi (Kubernetes)")
    add("--partition", help="SLURM partition")
    add("--hours", type=float, help="time limit of one attempt; after it the run is queued again and continues (24)")
    add("--sbatch", action="append", metavar="OPTION=VALUE", help="any other option of sbatch; may be repeated")


def overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments that the parser did not know, if all are --config.x.y=z.

    Raises:
      InputError: for anything else.
    """
    for flag in arguments:
        if not re.match(r"--config\.[\w.]+=", flag):
            raise InputError(f"unknown argument {flag!r}; fields of the config are set by --config.x.y=z")
    return list(arguments)


def program(flags) -> tuple[str, ...]:
    """The command of a run, without its arguments."""
    return tuple(shlex.split(flags.program)) if flags.program else MAIN


def refuse_others(flags, own: dict[str, Sequence[str]]) -> None:
    """Raises InputError for a flag that the chosen --executor does not have.

    Args:
      flags: of the command line.
      own: executor -> its flags, of those that only some executors have.
    """
    for name in sorted(set().union(*own.values()) - set(own[flags.executor])):
        if getattr(flags, name) is not None:
            raise InputError(f"--{name} is no flag of --executor={flags.executor}")


def launch(variants: Sequence[Variant], out: str, flags) -> bool:
    """Runs the unfinished variants here and waits for them, then returns True; or queues them on SLURM, then False.

    Args:
      variants: saved by `save_variants`.
      out: their folder.
      flags: with what `add_flags` adds, and `executor`.

    Raises:
      InputError: as `local.run` and `slurm.submit`.
    """
    if flags.executor == "slurm":
        given = {name: getattr(flags, name) for name in _RESOURCES if getattr(flags, name) is not None}
        others = dict(pair.partition("=")[::2] for pair in flags.sbatch or ())
        slurm.submit(variants, out, slurm.Resources(**given, others=others), flags.parallel, program(flags))
        return False
    local.run(variants, out, flags.parallel or 1, flags.gpus, program(flags))
    return True
