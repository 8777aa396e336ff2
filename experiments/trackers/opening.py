"""Opens the trackers of a config."""

import importlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from dataseg_jax.errors import InputError, first_line
from dataseg_jax.io.packages import require
from dataseg_jax.io.untrusted import json_object, spell
from dataseg_jax.io.whole_files import write_whole
from experiments.trackers.guarded import Guarded
from experiments.trackers.tensorboard import TensorBoard
from experiments.trackers.tracker import Several

FILE = "trackers.json"  # In the workdir: the run's id.
# Name in the config, which is that of the package and of the extra -> module and class.
SERVICES = {"wandb": ("experiments.trackers.wandb", "WandB"), "mlflow": ("experiments.trackers.mlflow", "MLflow")}
TRACKERS = ("tensorboard", *SERVICES)


def names_of(trackers: Sequence[str]) -> tuple[str, ...]:
    """The names in `config.log.trackers`, where "tensorboard,wandb" is two.

    Raises:
      InputError: one is unknown or there twice, or its package is not installed.
    """
    names = tuple(name.strip() for given in trackers for name in str(given).split(",") if name.strip())
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"config.log.trackers={','.join(names)}: {spell(name)} is none of {', '.join(TRACKERS)}")
        if names.count(name) > 1:
            raise InputError(f"config.log.trackers={','.join(names)}: {name} is there twice")
        if name in SERVICES:
            require(f"config.log.trackers={','.join(names)}", name, name)
    return names


def open_trackers(
    trackers: Sequence[str], workdir: Path, must: bool, say: Callable[[str], None] | None = None
) -> Several:
    """The trackers of a run.

    Args:
      trackers: see `names_of`.
      workdir: of the run. Its id is kept there, and the same run is continued by the same id.
      must: a service that cannot be begun is an error; else it is reported, and the run goes on without it, as one that
        is started again on its own must.
      say: takes lines about services; None: prints them.

    Raises:
      InputError: see `names_of`, and `must`; or the file with the id is damaged.
    """
    names, say = names_of(trackers), say or _print
    opened = [TensorBoard(workdir)] if "tensorboard" in names else []
    for name in names:
        if name in SERVICES:
            tracker = _begun(name, workdir, must, say)
            opened += [] if tracker is None else [Guarded(name, tracker, say)]
    return Several(opened)


def _begun(name: str, workdir: Path, must: bool, say: Callable[[str], None]):
    run_id = _id_of(workdir)
    try:
        module, kind = SERVICES[name]
        tracker = getattr(importlib.import_module(module), kind)(workdir, run_id)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - As in `Guarded`.
        reason = f"{name} cannot be begun ({type(error).__name__}: {first_line(error)})"
        if must:
            raise InputError(f"config.log.trackers: {reason}; the same command without it trains") from error
        say(f"{reason}; training goes on without it")
        return None
    say(f"{name}: {tracker.place}")
    return tracker


def _id_of(workdir: Path) -> str:
    """The id of the workdir's run, which is made at the first call."""
    path = workdir / FILE
    if not path.exists():
        write_whole(path, f'{{"id": "{uuid.uuid4().hex[:12]}"}}\n')
    found = json_object(path, "id of a run").get("id")
    if not isinstance(found, str) or not found.isalnum() or not found.isascii() or len(found) > 64:
        raise InputError(
            f"{path}: its id is {spell(found)}; it must be letters and digits. Without the file a new one is made"
        )
    return found


def _print(line: str) -> None:
    print(line, flush=True)
