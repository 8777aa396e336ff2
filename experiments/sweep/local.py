"""Runs the variants of a sweep on this machine, a few at a time, as jobs of submitit's local executor."""

import collections
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from dataseg_jax.errors import InputError
from experiments.sweep.attempt import GPUS, LOG, MAIN, Attempt, call_off, gpus_in_use, last_line, running
from experiments.sweep.records import Variant, finished

JOBS = ".jobs"  # Submitit's files, below the folder of the sweep.
A_YEAR = 365 * 24 * 60  # Minutes: submitit's own limit is two minutes.
TELL_EVERY = 60.0  # Seconds.


def run(
    variants: Sequence[Variant],
    out: str,
    parallel: int = 1,
    gpus: int | None = None,
    program: Sequence[str] = MAIN,
    progress: Callable[[], str] | None = None,
) -> bool:
    """Runs what is missing, at most `parallel` at once, and waits for it; True if all are finished.

    Jobs outlive this process, however it ends but by Ctrl-C, which has them save and stop. A variant that still runs
    from an earlier call is waited for. One that fails is told, and tried again by the next call.

    Args:
      variants: recorded ones, see `record`.
      out: folder of the sweep.
      parallel: how many run at once.
      gpus: GPUs of each, those of this machine dealt out in order; None: each sees all that this process sees.
      program: the command, if not `experiments.main` of this Python.
      progress: a line to print every minute while something runs.

    Raises:
      InputError: another process runs this sweep; or there are too few GPUs.
    """
    import submitit

    executor = submitit.LocalExecutor(Path(out, JOBS))
    executor.update_parameters(timeout_min=A_YEAR)
    waiting, active, jobs, devices = collections.deque(), {}, {}, {}
    with _only_one(out):
        for variant in variants:
            if finished(variant.workdir):
                print(f"{variant.name}: finished already", flush=True)
            elif running(variant.workdir):
                print(f"{variant.name}: still runs", flush=True)
                active[variant.name], devices[variant.name] = variant, gpus_in_use(variant.workdir)
            else:
                waiting.append(variant)
        told = time.monotonic()
        try:
            while waiting or active:
                for name, variant in list(active.items()):
                    job = jobs.get(name)
                    # The run may outlive a job that was killed; its lock tells.
                    if (job is None or job.done()) and not running(variant.workdir):
                        del active[name], devices[name]
                        print(f"{name}: {_outcome(variant, job)}", flush=True)
                while waiting and len(active) < parallel:
                    variant = waiting.popleft()
                    mine = _free_gpus(gpus or 0, set().union(*devices.values()))
                    active[variant.name], devices[variant.name] = variant, set(mine)
                    # Submitit hides every GPU that was not asked for.
                    seen = ",".join(mine) if gpus else os.environ.get(GPUS)
                    with _out_of_reach_of_ctrl_c():
                        jobs[variant.name] = executor.submit(Attempt(variant, program, {GPUS: seen}))
                    print(f"{variant.name}: started, log in {variant.workdir / LOG}", flush=True)
                if progress and active and time.monotonic() > told + TELL_EVERY:
                    told = time.monotonic()
                    print(progress(), flush=True)
                time.sleep(0.2)
        except KeyboardInterrupt:
            for variant in active.values():
                call_off(variant.workdir)
            print("interrupted; what ran saves itself and stops, and the same command continues", flush=True)
            raise
    return all(finished(variant.workdir) for variant in variants)


@contextlib.contextmanager
def _out_of_reach_of_ctrl_c() -> Iterator[None]:
    """What is started within never gets SIGINT; this process gets the one that comes meanwhile when it is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_gpus(count: int, taken: set[str]) -> list[str]:
    """The first GPUs of this process that no variant has."""
    mine = os.environ.get(GPUS)
    every = map(str, itertools.count()) if mine is None else (name for name in mine.split(",") if name)
    free = list(itertools.islice((name for name in every if name not in taken), count))
    if len(free) < count:
        raise InputError(f"{GPUS}={mine} has not enough GPUs for --gpus={count} and that --parallel; lower one of them")
    return free


def _outcome(variant: Variant, job) -> str:
    if finished(variant.workdir):
        return "finished"
    line = last_line(variant.workdir)
    if not line and job is not None:  # Not even the command was reached.
        line = next((line for line in reversed((job.stderr() or "").splitlines()) if line.strip()), "no output")
    return f"failed: {line}"


@contextlib.contextmanager
def _only_one(out: str) -> Iterator[None]:
    """Free again whenever this process ends, however it ends."""
    path = Path(out, JOBS, "sweep.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(path, timeout=0, fallback_to_soft=False).acquire()
    except Timeout:
        raise InputError(f"{out}: another process runs this sweep; --gather shows what it has reached") from None
    with lock:
        yield
