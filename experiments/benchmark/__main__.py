"""Measures a part of the system, and a reference in the same run where one exists.

python -m experiments.benchmark --part=input --coco=COCO_PANOPTIC [--out=DIR]
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.benchmark import rows

# Part -> module with `add_flags(parser)` and `run(flags) -> list[Row]`; imported only when it is run.
PARTS = {
    "eval": "experiments.benchmark.evaluation.scoring",
    "input": "experiments.benchmark.input.reading",
    "matching": "experiments.benchmark.matching",
    "merge": "experiments.benchmark.merge",
    "prompts": "experiments.benchmark.prompts.answering",
    "serving": "experiments.benchmark.serving",
    "step": "experiments.benchmark.train_step.step",
    "video": "experiments.benchmark.video.tracking",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    choose = argparse.ArgumentParser(add_help=False)
    choose.add_argument("--part", required=True, choices=PARTS, help="what to measure")
    choose.add_argument("--out", default="", help="folder for the numbers as JSON")
    part = choose.parse_known_args(arguments)[0].part
    module = importlib.import_module(PARTS[part])
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmark", description=__doc__, parents=[choose])
    module.add_flags(parser)
    flags = parser.parse_args(arguments)
    try:
        places = {name: getattr(flags, name, None) for name in ("out", "coco", "profile")}
        # `--profile` is a folder of one part, and a switch of another.
        require_local({f"--{name}": place for name, place in places.items() if isinstance(place, str)})
        measured = module.run(flags)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{key}: {value}" for key, value in rows.machine().items()))
    print(rows.table(measured))
    if flags.out:
        print(f"written to {rows.write(measured, part, flags.out)}")
    return 0


if __name__ == "__main__":
    heed_interrupts()
    sys.exit(main())
