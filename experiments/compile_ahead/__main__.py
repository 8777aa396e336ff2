r"""Compiles the train or predict step of a config for GPUs or TPUs that are not here: does it fit, how fast can it be?

  python -m experiments.compile_ahead --config=configs/vitdet_l.py --target=h100 --config.batch_size=8
  python -m experiments.compile_ahead --config=configs/vitdet_l.py --target=h100:8 --hosts=4 --out=ahead
  python -m experiments.compile_ahead --config=configs/vitdet_l.py --target=v5e:4x4 --mode=predict
  python -m experiments.compile_ahead --config=configs/r50.py --target=h100 --mode=predict --answer=panoptic \
    --config.batch_size=8

Needs no accelerator and no dataset, only the compiler: pip install '.[ahead-cuda]' or '.[ahead-tpu]'.
`config.batch_size` counts the images of all devices. --target: h100 is one GPU, h100:8 with --hosts=4 eight on each of
four hosts, v5e:4x4 a slice of 16 chips; a100, h100, h200, v4, v5e, v5p, v6e.

It prints memory per device, kernels, custom calls, collectives, scatters, and an estimated step time: every kernel's
max(FLOPs / peak, bytes / bandwidth), loops times their trip counts, collectives over the bandwidth of their links. That
is what the program could reach, not what was measured. The last line on stdout is one JSON object; --out writes it as
compile_ahead.json, and the report as compile_ahead.md. Exit status: 0, or 2 where the input is wrong.
"""

import json
import os
import time
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from dataseg_jax.errors import InputError
from dataseg_jax.io.local_paths import require_local
from dataseg_jax.io.whole_files import write_whole
from experiments.compile_ahead import program, report, target
from experiments.compile_ahead.estimate import estimate
from experiments.compile_ahead.hlo import text
from experiments.runtime.commandline import parse, stop

REPOSITORY = str(Path(__file__).resolve().parents[2]) + os.sep
NAME = "compile_ahead"


def define_flags() -> None:
    """Defines the flags of the entry point; not on import, since other entry points have flags of the same names."""
    config_flags.DEFINE_config_file("config", None, "The config file; any field can be set: --config.x.y=z.")
    flags.DEFINE_string("target", None, f"What to compile for: {target.FORMS}.", required=True)
    flags.DEFINE_integer("hosts", 1, "Hosts of GPUs.")
    flags.DEFINE_enum("mode", "train", program.MODES, "Which step.")
    flags.DEFINE_enum("answer", None, program.ANSWERS, "Of --mode=predict: with the answer of this task, one device.")
    flags.DEFINE_string("out", None, "Folder to write the report to.")
    flags.mark_flags_as_required(["config"])


def main(argv: list[str]) -> None:
    """Compiles and reports as the flags say."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; every option starts with --")
    options = flags.FLAGS
    require_local({"--out": options.out})
    goal = target.parse(options.target, options.hosts)
    if options.answer and options.mode != "predict":
        raise InputError(f"--answer={options.answer} goes with --mode=predict")
    run = program.settings_of(options.config)
    target.require_plugin(goal)
    jax.config.update("jax_platforms", "cpu")  # Whatever is here is not what is asked about.
    devices = target.devices_of(goal)
    if options.mode == "train":
        step = program.train_program(run, devices, callbacks=goal.platform == "tpu")
    else:
        step = program.predict_program(run, devices, options.answer)
    began = time.perf_counter()
    with target.kernels_of(goal):
        lowered = step.function.lower(*step.arguments)
    compiled = lowered.compile(target.GPU_OPTIONS if goal.platform == "cuda" else None)
    found = {"config": config_flags.get_config_filename(options["config"]), "mode": options.mode}
    found |= report.record(step, goal, compiled.memory_analysis(), time.perf_counter() - began)
    print(report.markdown(said := described(found, step, goal, compiled)))
    line = json.dumps(said)
    if options.out:
        write(Path(options.out), line, report.markdown(said))
    print(line, flush=True)


def described(found: dict, step: program.Program, goal: target.Target, compiled) -> dict:
    """The record with what the text of the program tells, where XLA can write it."""
    try:
        module = text.parse(compiled.as_text())
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        note = f"XLA cannot write this program as text, so nothing is known of its kernels and time: {reason}"
        return found | {"notes": [*found["notes"], note]}
    return report.with_estimate(found, step, goal, module, estimate(module, goal.device, goal.of_a_host, REPOSITORY))


def write(out: Path, line: str, shown: str) -> None:
    """Writes both files. Raises InputError where the folder cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / f"{NAME}.md", shown)
        write_whole(out / f"{NAME}.json", line + "\n")
    except OSError as error:
        raise InputError(f"--out={out}: cannot be written ({error.strerror})") from None


def run(argv: list[str]) -> None:
    """`main`, with bad input reported in one line."""
    try:
        main(argv)
    except InputError as error:
        stop(str(error))


if __name__ == "__main__":
    define_flags()
    app.run(run, flags_parser=parse)
