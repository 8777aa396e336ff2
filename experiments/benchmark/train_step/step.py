"""Times a train step of a config, whole and by phase, and Hugging Face's MaskFormer in torch in the same run.

python -m experiments.benchmark --part=step --config=configs/r50.py --side=512 --batch=4

Images are synthetic; no dataset is needed. Processor seconds are given beside wall-clock seconds: on a machine with
other load they are the ones to compare.
"""

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import jax

from dataseg_jax.errors import InputError
from dataseg_jax.training.train_step import TrainState
from experiments.benchmark.rows import Row
from experiments.benchmark.train_step import reference as maskformer
from experiments.benchmark.train_step import trace
from experiments.benchmark.train_step.peak import peak
from experiments.benchmark.train_step.setup import Step, load_config, make_step
from experiments.runtime.memory import keep_freed_memory
from experiments.runtime.start.work import step_flops


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, help="config file, its argument after a colon")
    parser.add_argument("--side", type=int, default=512, help="side of the square input")
    parser.add_argument("--batch", type=int, default=4, help="images of a step")
    parser.add_argument("--targets", type=int, default=20, help="targets per image")
    parser.add_argument("--points", type=int, help="cells of the losses, 0 = all; else the config's loss_points")
    parser.add_argument("--dtype", help="float32 or bfloat16; else the config's, and float32 on a CPU")
    parser.add_argument("--turns", type=int, default=3, help="how often a step is timed; the fastest turn counts")
    parser.add_argument("--profile", default="", help="folder for a trace of one step, for TensorBoard or Perfetto")
    parser.add_argument(
        "--keep_memory", action="store_true", help="as experiments.main does on a CPU, for the reference as well"
    )
    parser.add_argument("--no_reference", action="store_true", help="leave the reference out")


def run(flags: argparse.Namespace) -> list[Row]:
    """Compiles, times and profiles the step. Raises InputError."""
    for name in ("side", "batch", "turns"):
        if getattr(flags, name) < 1:
            raise InputError(f"--{name}={getattr(flags, name)}: it must be at least 1")
    config = load_config(flags.config)
    device = jax.devices()[0]
    config.model.dtype = flags.dtype or ("float32" if device.platform == "cpu" else config.model.dtype)
    if flags.points is not None:
        config.loss_points = flags.points
    reference = None if flags.no_reference else maskformer.steps(flags.side, flags.batch, flags.targets)
    if reference is None:
        print("the reference was left out" if flags.no_reference else maskformer.MISSING, file=sys.stderr)

    step = make_step(config, flags.side, flags.batch, flags.targets)
    began = time.perf_counter()
    compiled = step.function.lower(step.state, step.batch, step.table).compile()
    compiling = time.perf_counter() - began
    state = jax.tree.map(lambda leaf: leaf.copy(), step.state)  # A step takes it; the forward pass needs one too.
    train = repeated(compiled, state, step)
    forward = _blocked(step.forward, step.state.params, step.batch.image)
    things = {"train": train, "forward": forward}
    things |= {f"reference {key}": thing for key, thing in (reference or {}).items()}
    seconds = in_turns(things, flags.turns, partial(keep_freed_memory, everything=True) if flags.keep_memory else None)
    with contextlib.ExitStack() as stack:
        folder = flags.profile or stack.enter_context(tempfile.TemporaryDirectory())
        with jax.profiler.trace(folder):
            train()
        phases = trace.shares(folder, compiled.as_text())

    where = f"{flags.batch} images of {flags.side}x{flags.side}, {config.model.dtype}, {device.device_kind}"
    rows = [Row(f"compilation of the step, {where}", compiling, "s")]
    rows += _times("train step", "train", seconds) + _times("forward", "forward", seconds)
    rows.append(Row("training", flags.batch / seconds["train"][0], "images/s"))
    rows += [Row(f"of the train step: {phase}", 100 * share, "%") for phase, share in phases.items()]
    return rows + _work(compiled, step, device, seconds["train"][0])


def in_turns(
    things: dict[str, Callable[[], object]], turns: int, after_first: Callable[[], None] | None = None
) -> dict[str, tuple[float, float]]:
    """(seconds, processor seconds) of each thing: the least of several turns, after one that is not counted.

    `after_first` is called between that one and the others.
    """
    least = dict.fromkeys(things, (float("inf"), float("inf")))
    for turn in range(turns + 1):
        if turn == 1 and after_first:
            after_first()
        for name, thing in things.items():
            clock, processor = time.perf_counter(), time.process_time()
            thing()
            taken = time.perf_counter() - clock, time.process_time() - processor
            if turn:
                least[name] = tuple(map(min, least[name], taken))
    return least


def repeated(function: Callable, state: TrainState, step: Step) -> Callable[[], None]:
    """One step after another: each takes the state of the one before, which is donated."""

    def train():
        nonlocal state
        state, metrics = function(state, step.batch, step.table)
        jax.block_until_ready((state, metrics))

    return train


def _blocked(function: Callable, *arguments) -> Callable[[], object]:
    return lambda: jax.block_until_ready(function(*arguments))


def _times(what: str, key: str, seconds: dict[str, tuple[float, float]]) -> list[Row]:
    theirs = seconds.get(f"reference {key}")
    rows = []
    for i, unit in enumerate(("s", "processor s")):
        beside = f"{maskformer.NAME} {theirs[i]:.3g} {unit}" if theirs else "not run"
        rows.append(Row(what, seconds[key][i], unit, beside, theirs[i] / seconds[key][i] if theirs else None))
    return rows


def _work(compiled, step: Step, device, seconds: float) -> list[Row]:
    """Floating-point operations by formula, loops as often as they turn; memory; bytes to the device."""
    flops = step_flops(step.run, step.batch, step.table)
    most, source = peak(device, step.network.dtype)
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = [
        Row("FLOPs of the train step", flops / 1e9, "GFLOP"),
        Row("FLOP/s of the train step", flops / seconds / 1e9, "GFLOP/s"),
        Row("model FLOPs utilisation", 100 * flops / seconds / most, "%", f"{most / 1e9:.4g} GFLOP/s: {source}"),
        Row("memory of the step by XLA's plan", (held + memory.temp_size_in_bytes) / 2**20, "MiB"),
        Row("largest resident memory of the process, the reference included", resident / 2**20, "MiB"),
        Row("to the device, per image", step.wire_bytes / step.run.batch_size / 2**20, "MiB"),
    ]
    statistics = device.memory_stats()
    if statistics:
        rows.append(Row("largest memory in use on the device", statistics["peak_bytes_in_use"] / 2**20, "MiB"))
    return rows
