"""The flags that say where runs are started, and how; of sweeps and of tables."""

import argparse
import re
import shlex
from collections.abc import Sequence

from dataseg_jax.errors import InputError
from experiments.sweep import local, slurm
from experiments.sweep.attempt import MAIN
from experiments.sweep.variant_state import Variant

_RESOURCES = ("partition", "gpus", "cpus", "memory", "hours", "nodes")


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--parallel", type=positive, help="runs at once (1 here; elsewhere all)")
    add("--program", help="command in place of experiments.main of this Python, such as that of a container")
    add("--gpus", type=positive, help="GPUs of a run, or of each of its hosts")
    add("--nodes", type=positive, help="hosts of a run")
    add("--cpus", help="processor cores of a host")
    add("--memory", help="memory of a host: 64G (SLURM), 64Gi (Kubernetes)")
    add("--partition", help="of SLURM")
    add("--hours", type=float, help="limit of one attempt; it is then queued again and continues (24)")
    add("--sbatch", action="append", metavar="OPTION=VALUE", help="any other option of sbatch; may be repeated")


def positive(text: str) -> int:
    """A whole number of at least 1; ValueError for anything else."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def overrides(arguments: Sequence[str]) -> list[str]:
    """What the parser did not know, as --config.x.y=z.

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
    """Raises InputError for a flag that --executor has not.

    Args:
      flags: of the command line.
      own: executor -> its flags, of those that not all have.
    """
    for name in sorted(set().union(*own.values()) - set(own[flags.executor])):
        if getattr(flags, name) is not None:
            raise InputError(f"--{name} is none of --executor={flags.executor}")


def launch(variants: Sequence[Variant], out: str, flags) -> bool:
    """Runs what is missing of recorded variants here and waits for it; or queues it on SLURM, then False.

    Args:
      variants: see `save_variants`.
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
