"""The cost of runs before any of them starts, from the time of one step.

  python -m experiments.tables.cost --config=configs/r50.py --config.batch_size=8

measures one step on an accelerator, in its own process so that the memory is free again for the runs. The last line is
one JSON object, {} on a CPU, which is too slow for the paper's models.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from dataseg_jax.errors import InputError
from experiments.sweep.variant_state import Variant

TARGETS = 20  # Per image; about as many as COCO has.


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds that one accelerator needs for a step of the whole batch, and the source of that number."""

    seconds: float
    source: str


def measure(flags: Sequence[str]) -> StepTime | None:
    """The time of a step of a config on this machine's accelerator; None without one. Takes minutes, as the step is
    compiled.

    Raises:
      InputError: the measurement failed.
    """
    command = [sys.executable, "-m", "experiments.tables.cost", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InputError(f"a step of {flags[0]} could not be measured ({line}); give --step_seconds")
    found = json.loads(done.stdout.splitlines()[-1])
    return StepTime(**found) if found else None


def given(text: str, backbones: Sequence[str]) -> dict[str, StepTime]:
    """Backbone -> time of a step by --step_seconds: one number for all, or backbone:number, joined by commas.

    Raises:
      InputError: it has neither form.
    """
    parts = dict(part.rpartition(":")[::2] for part in text.split(","))
    named = {b: parts[""] for b in backbones} if set(parts) == {""} else parts
    try:
        times = {b: StepTime(float(named[b]), "as given by --step_seconds") for b in backbones}
    except (KeyError, ValueError):
        times = {}
    if not times or min(time.seconds for time in times.values()) <= 0:
        raise InputError(
            f"--step_seconds={text}: a number of seconds above 0, or {','.join(f'{b}:SECONDS' for b in backbones)}"
        )
    return times


def estimate(variants: Sequence[Variant], times: Mapping[str, StepTime], device: str = "GPU") -> list[str]:
    """Lines to print: steps and hours on one accelerator (or this CPU) of each run, then of all together.

    Args:
      variants: named BACKBONE_....
      times: backbone -> time of a step; {} if unknown.
      device: its name in the text.
    """
    lines, hours = [], 0.0
    for variant in variants:
        backbone = next((b for b in times if variant.name.startswith(f"{b}_")), "")
        cost = ""
        if backbone:
            of_one = variant.config["steps"] * times[backbone].seconds / 3600
            hours += of_one
            cost = f", {of_one:,.2f} h"
        lines.append(f"{variant.name}: {variant.config['steps']:,} steps{cost}")
    total = f"{len(variants)} runs, {sum(v.config['steps'] for v in variants):,} steps"
    if times:
        total += f", {hours:,.1f} {device} hours of training; without scoring"
    how = [f"a step of {b}: {time.seconds:.3g} {device} seconds, {time.source}" for b, time in times.items()]
    return [*lines, total, *how]


def timed(config: ConfigDict) -> StepTime:
    """The time of a step on this machine's devices, measured on a part of the batch that is halved until it fits."""
    import jax

    from experiments.benchmark.train_step.setup import make_step
    from experiments.benchmark.train_step.step import in_turns, repeated

    images = config.batch_size
    while True:
        try:
            step = make_step(config, config.image_size, images, min(TARGETS, config.max_targets))
            seconds = in_turns({"step": repeated(step.function, step.state, step)}, turns=3)["step"][0]
            break
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or images == 1:
                raise
            images //= 2
    of_one = seconds * jax.device_count() * config.batch_size / images
    what = f"measured on {jax.device_count()} {jax.devices()[0].device_kind}"
    return StepTime(of_one, f"{what} with {images} of {config.batch_size} images")


def _main(flags: list[str]) -> None:
    import jax

    from experiments.sweep.variants import resolve

    here = jax.devices()[0].platform != "cpu"
    print(json.dumps(dataclasses.asdict(timed(resolve(flags))) if here else {}))


if __name__ == "__main__":
    _main(sys.argv[1:])
