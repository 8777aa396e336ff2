"""Runs the variants of a sweep on this machine, a few at a time, as jobs of submitit's local executor."""

import collections
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import Timeout
from tqdm import tqdm

from dataseg_jax.errors import InputError
from dataseg_jax.io.lock_files import take_lock
from experiments.sweep.attempt import GPUS, LOG, MAIN, Attempt, call_off, gpus_in_use, last_line, running
from experiments.sweep.results import steps_done
from experiments.sweep.variant_state import Variant, finished

JOBS = ".jobs"  # Submitit's files, below the folder of the sweep.
A_YEAR = 365 * 24 * 60  # Minutes: submitit's own limit is two minutes.
REFRESH_EVERY = 5.0  # Seconds, of the progress bar.


class _Bar(tqdm):
    """Steps of all variants, on stderr, if that is a terminal."""

    monitor_interval = 0  # Its thread would take the Ctrl-C that `_out_of_reach_of_ctrl_c` holds back.

    def say(self, line: str) -> None:
        """A line on stdout, above the bar."""
        self.write(line)
        sys.stdout.flush()

    def count(self, variants: Sequence[Variant]) -> None:
        """Counts the steps done so far."""
        if not self.disable:
            self.n = sum(map(steps_done, variants))
            self.refresh()


def run(
    variants: Sequence[Variant],
    out: str,
    parallel: int = 1,
    gpus: int | None = None,
    program: Sequence[str] = MAIN,
) -> bool:
    """Runs what is missing, at most `parallel` at once, and waits for it; True if all are finished.

    Jobs go on if this process is killed; Ctrl-C makes them save and stop. A variant that still runs from an earlier
    call is waited for. One that fails is reported, and tried again by the next call.

    Args:
      variants: saved by `save_variants`.
      out: folder of the sweep.
      parallel: how many run at once.
      gpus: GPUs of each, taken in order from those of this machine; None: each sees all that this process sees.
      program: the command, if not `experiments.main` of this Python.

    Raises:
      InputError: another process runs this sweep; or there are too few GPUs.
    """
    import submitit

    executor = submitit.LocalExecutor(Path(out, JOBS))
    executor.update_parameters(timeout_min=A_YEAR)
    waiting, active, jobs, devices = collections.deque(), {}, {}, {}
    total = sum(variant.config["steps"] for variant in variants)
    with _only_one(out), _Bar(total=total, initial=sum(map(steps_done, variants)), unit="step", disable=None) as bar:
        for variant in variants:
            if finished(variant.workdir):
                bar.say(f"{variant.name}: finished already")
            elif running(variant.workdir):
                bar.say(f"{variant.name}: still runs")
                active[variant.name], devices[variant.name] = variant, gpus_in_use(variant.workdir)
            else:
                waiting.append(variant)
        refreshed = time.monotonic()
        try:
            while waiting or active:
                for name, variant in list(active.items()):
                    job = jobs.get(name)
                    # The run may outlive a job that was killed; its lock shows it.
                    if (job is None or job.done()) and not running(variant.workdir):
                        del active[name], devices[name]
                        bar.say(f"{name}: {_ending(variant, job)}")
                while waiting and len(active) < parallel:
                    variant = waiting.popleft()
                    mine = _free_gpus(gpus or 0, set().union(*devices.values()))
                    active[variant.name], devices[variant.name] = variant, set(mine)
                    # Submitit hides every GPU that was not requested.
                    seen = ",".join(mine) if gpus else os.environ.get(GPUS)
                    with _out_of_reach_of_ctrl_c():
                        jobs[variant.name] = executor.submit(Attempt(variant, program, {GPUS: seen}))
                    bar.say(f"{variant.name}: started, log in {variant.workdir / LOG}")
                if time.monotonic() > refreshed + REFRESH_EVERY:
                    bar.count(variants)
                    refreshed = time.monotonic()
                time.sleep(0.2)
        except KeyboardInterrupt:
            for variant in active.values():
                call_off(variant.workdir)
            bar.say("interrupted; running variants save a checkpoint and stop; the same command continues them")
            raise
        bar.count(variants)
    return all(finished(variant.workdir) for variant in variants)


@contextlib.contextmanager
def _out_of_reach_of_ctrl_c() -> Iterator[None]:
    """Processes started within never get SIGINT; one that arrives meanwhile reaches this process afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _free_gpus(count: int, taken: set[str]) -> list[str]:
    """The first GPUs of this process that no variant uses."""
    mine = os.environ.get(GPUS)
    every = map(str, itertools.count()) if mine is None else (name for name in mine.split(",") if name)
    free = list(itertools.islice((name for name in every if name not in taken), count))
    if len(free) < count:
        raise InputError(f"{GPUS}={mine} has not enough GPUs for --gpus={count} and that --parallel; lower one of them")
    return free


def _ending(variant: Variant, job) -> str:
    if finished(variant.workdir):
        return "finished"
    line = last_line(variant.workdir)
    if not line and job is not None:  # The command was not even started.
        line = next((line for line in reversed((job.stderr() or "").splitlines()) if line.strip()), "no output")
    return f"failed: {line}"


@contextlib.contextmanager
def _only_one(out: str) -> Iterator[None]:
    """Held until this process ends, in whatever way."""
    path = Path(out, JOBS, "sweep.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = take_lock(path)
    except Timeout:
        raise InputError(f"{out}: another process runs this sweep; --gather shows its progress") from None
    try:
        yield
    finally:
        lock.release()
