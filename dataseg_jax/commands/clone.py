"""Commands that need a clone of the repository: they run its modules, with the flags of these."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from dataseg_jax.errors import InputError
from dataseg_jax.io.packages import TRAIN, require


class Module(NamedTuple):
    """A module of a clone: its name, and the extra with the packages that it imports at once."""

    name: str
    extra: str
    packages: tuple[str, ...]


MODULES = {
    "train": Module("experiments.main", "train", TRAIN),
    "validate": Module("data.validate", "data", ("grain",)),
    "annotate": Module("experiments.annotate", "train", TRAIN),
    "evaluate": Module("experiments.evaluate", "train", ("absl",)),
    "sweep": Module("experiments.sweep", "train", TRAIN),
}
_MARKS = ("experiments/main.py", "data/validate/__main__.py", "dataseg_jax/__init__.py", "configs/quickstart.py")


def find_clone(start: Path) -> Path | None:
    """The clone that holds the folder `start`, which may be the clone itself."""
    return next((place for place in (start, *start.parents) if all((place / mark).is_file() for mark in _MARKS)), None)


def run(name: str, arguments: list[str]) -> int:
    """Becomes `python -m` of a key of `MODULES`, in the same folder.

    Raises:
      InputError: no clone is here, or packages are missing.
    """
    module, clone = MODULES[name], find_clone(Path.cwd())
    if clone is None:
        raise InputError(
            f"dataseg {name} needs a clone of the repository: git clone https://github.com/dataseg-jax/dataseg_jax, "
            "and call it in there"
        )
    require(f"dataseg {name}", module.extra, *module.packages)
    paths = [str(clone), *filter(None, [os.environ.get("PYTHONPATH")])]  # Its dataseg_jax, not one that is installed.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    sys.stdout.flush()
    # In this process's place, so that signals and the exit status are the module's own.
    os.execve(sys.executable, [sys.executable, "-m", module.name, *arguments], environment)
