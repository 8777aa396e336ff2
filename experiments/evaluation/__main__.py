"""Scores the weights of a run on many sets that it was not trained on, by mask AP: SeginW and its like.

    python -m experiments.evaluation --config=configs/seginw.py:SEGINW --workdir=runs/mqformer_r50

The sets are the validation datasets of the config; of its other fields `eval`, `input` and the text encoder count. The
model, its text space and the size of its images are those of the checkpoint in --workdir, which stays as it is. A set
whose folder does not exist is reported and left out. With --output=DIR the report goes there, as that of a run.

The last line on stdout is one JSON object with fractions: `mean_mask_ap` and `median_mask_ap` over the sets that were
scored, `sets`, their number, `mask_ap` of each, and `missing`, the names of the others.
"""

import dataclasses
import json
import os
import statistics
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from dataseg_jax.commands.interrupts import heed_interrupts
from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from experiments.runtime.commandline import parse, silence_libraries


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "The config file; any field can be set: --config.x.y=z.")
    flags.DEFINE_string("workdir", None, "The run whose newest checkpoint is scored.")
    flags.DEFINE_string("output", "", "Folder of the report; empty: only the JSON object is printed.")
    flags.mark_flags_as_required(["config", "workdir"])


def score_sets(config: ConfigDict, workdir: str, output: str = "") -> dict:
    """What the program prints.

    Args:
      config: its `validation` holds the sets, all of task instance.
      workdir: of a run, or a folder of its checkpoints.
      output: folder of the report; "" = none.

    Raises:
      InputError: there is no set, one is of another task or cannot be read, or there is no checkpoint.
    """
    from dataseg_jax.io.checkpoint import load_checkpoint
    from experiments import build
    from experiments.evaluation.evaluator import Evaluator
    from experiments.runtime import settings

    config = config.copy_and_resolve_references()
    sets, missing = dict(config.validation.items()), []
    if not sets:
        raise InputError("config.validation is empty: it must hold the sets to score")
    for name, fields in list(sets.items()):
        if fields.task != "instance":
            raise InputError(f"config.validation.{name}.task={fields.task!r}: mask AP is of task instance")
        if not os.path.isdir(fields.root):
            print(f"{name}: no folder {fields.root}; left out", file=sys.stderr)
            missing.append(name)
            del sets[name]
    if not sets:
        raise InputError(f"none of the {len(missing)} sets has its folder, {config.validation[missing[0]].root} say")
    config.validation = ConfigDict(sets)
    config.datasets = ConfigDict(sets)  # Settings want some; they are left out below.
    checkpoint = load_checkpoint(workdir)
    run = dataclasses.replace(
        settings.from_config(config, workdir),
        datasets=(),
        model=checkpoint.spec,
        image_size=checkpoint.image_size,
        text_space=checkpoint.text_space,
    )
    if output:
        os.makedirs(output, exist_ok=True)
    evaluator = Evaluator(run, output or workdir, [], [build.open_dataset(d, run) for d in run.validation])
    scores = evaluator.run(checkpoint.params, checkpoint.step, last=bool(output))
    found = {name: scores[name]["mask_ap"] for name in sets if "mask_ap" in scores[name]}
    if not found:
        raise InputError("none of the sets has an object to find")
    return {
        "mean_mask_ap": statistics.mean(found.values()),
        "median_mask_ap": statistics.median(found.values()),
        "sets": len(found),
        "mask_ap": found,
        "missing": [*missing, *(name for name in sets if name not in found)],
    }


def main(argv: list[str]) -> int:
    options = flags.FLAGS
    logging.set_verbosity(logging.FATAL)  # Orbax logs every read.
    silence_libraries()
    try:
        if len(argv) > 1:
            raise InputError(
                f"unknown argument {argv[1]!r}; flags are --config, --config.x.y=z, --workdir and --output"
            )
        require_local({"--workdir": options.workdir, "--output": options.output})
        result = score_sets(options.config, options.workdir, options.output)
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, allow_nan=False))
    return 0


if __name__ == "__main__":
    heed_interrupts()
    define_flags()
    app.run(main, flags_parser=parse)
