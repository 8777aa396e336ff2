"""Entry points, the training loop, checkpoints, telemetry, evaluation, sweeps, tables and benchmarks."""

import sys

from dataseg_jax.errors import InputError
from dataseg_jax.io.packages import TRAIN, require

if sys.argv[0] == "-m":  # So it is while Python looks for the module of `python -m experiments.NAME`.
    try:
        require("python -m experiments", "train", *TRAIN)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
