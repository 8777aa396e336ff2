"""One worker: the command line of `experiments.annotate`, and after it --workdir, its own folder, as the launcher of
sweeps writes it. It leaves a record there when its shards are made."""

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.io.whole_files import write_whole
from experiments.annotate.__main__ import main
from experiments.sweep.variant_state import VARIANT_FILE, read_variant

FINISHED = "results.json"  # What a sweep looks for in the folder of a variant.


def work(arguments: Sequence[str]) -> int:
    """Returns the exit status of `experiments.annotate`; 1, some images failed, is the end of the work too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # So that no half file is left.
    *arguments, own = arguments
    folder = Path(own.removeprefix("--workdir="))
    status = main(arguments)
    if status in (0, 1):
        steps = read_variant(folder / VARIANT_FILE)["config"]["steps"]
        write_whole(folder / FINISHED, json.dumps({"step": steps, "scores": {}}) + "\n")
    return status


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(work(sys.argv[1:]))
