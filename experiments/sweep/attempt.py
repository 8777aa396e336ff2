"""One attempt at one variant: the real command in a process of its own, its log, and a lock while it runs."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from filelock import Timeout

from dataseg_jax.errors import InputError
from dataseg_jax.io.lock_files import take_lock
from experiments.sweep.variant_state import Variant, finished

LOG, ATTEMPTS, LOCK, STOP = "log.txt", "attempts.jsonl", "attempt.lock", "stop"
GPUS = "CUDA_VISIBLE_DEVICES"
MAIN = (sys.executable, "-m", "experiments.main")
GRACE = 60.0  # Seconds that a run has to save a checkpoint when its job is stopped; submitit gives notice of 90.


class Attempt:
    """What submitit pickles and calls; a job that is stopped (time limit, pre-emption) is queued again unchanged.

    The run itself is a child in a session of its own: signals for the job reach it through this process alone, as
    SIGTERM. Both hold the variant's lock, so that it is free only when neither runs any more.
    """

    def __init__(
        self,
        variant: Variant,
        program: Sequence[str] = MAIN,
        environment: Mapping[str, str | None] | None = None,
        rank_variable: str = "",
    ):
        """What to run.

        Args:
          variant: saved by `save_variants`.
          program: the command, which is given the variant's flags and --workdir.
          environment: variables to set, or with None to unset.
          rank_variable: environment variable with the number of the host, if several run one variant; the first one
            keeps log and lock.
        """
        self.workdir = variant.workdir.absolute()
        self.command = (*program, *variant.arguments, f"--workdir={variant.workdir}")
        self.environment = dict(environment or {})
        self.rank_variable = rank_variable
        self._made = time.time()
        self._child = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_child": None}  # A process cannot be pickled.

    def __call__(self) -> int:
        """Runs the command to its end, unless the variant is finished; returns the exit status.

        Raises:
          InputError: another process runs this variant.
        """
        if finished(self.workdir):
            return 0
        rank = int(os.environ.get(self.rank_variable) or 0) if self.rank_variable else 0
        self.workdir.mkdir(parents=True, exist_ok=True)
        if rank:
            with (self.workdir / f"log_of_process_{rank}.txt").open("a") as log:
                return self._run(log)
        with _held(self.workdir) as lock, (self.workdir / LOG).open("a") as log:
            quiet_since = _last_change(self.workdir)
            self._note(began=time.time(), quiet_since=quiet_since, gpus=self.environment.get(GPUS) or "")
            status = self._run(log, lock)
            self._note(ended=time.time(), status=status)
            if status < 0:
                log.write(f"ended by {signal.Signals(-status).name}\n")
            return status

    def checkpoint(self):
        """What submitit calls when the job is about to be stopped: the run saves itself, and the same is queued."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(self)

    def stop(self) -> None:
        """Asks the run to save itself and end, and ends it if it does not; also from within a signal handler."""
        child, deadline = self._child, time.monotonic() + GRACE
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
        # Not Popen.wait: the interrupted code may hold its lock.
        while not _ended(child.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _ended(child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _run(self, log, lock: int | None = None) -> int:
        self._child = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={k: v for k, v in (os.environ | self.environment).items() if v is not None},
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
        try:
            while (status := self._child.poll()) is None:
                if self._called_off():
                    self.stop()
                time.sleep(0.1)
            return status
        finally:  # Ctrl-C, or an exit from a signal handler.
            if self._child.poll() is None:
                self.stop()
                self._child.wait()
            self._child = None

    def _called_off(self) -> bool:
        try:
            return (self.workdir / STOP).stat().st_mtime > self._made
        except FileNotFoundError:
            return False

    def _note(self, **fields) -> None:
        with (self.workdir / ATTEMPTS).open("a") as file:
            file.write(json.dumps(fields) + "\n")


def call_off(workdir: Path) -> None:
    """Makes the attempt that runs in that folder, or is about to, save its run and end.

    By a file and not by a signal: Ctrl-C in a terminal also reaches every process below, and a signal on top of that
    interrupts a job that is waiting for its run to save.
    """
    (workdir / STOP).touch()


def running(workdir: Path) -> bool:
    """Whether a process on this machine runs the variant of that folder."""
    if not (workdir / LOCK).exists():
        return False
    try:
        # Not at the first attempt: another process that asks the same holds the lock for a moment.
        take_lock(workdir / LOCK, timeout=0.1, poll_interval=0.02).release()
        return False
    except Timeout:
        return True


def seconds(workdir: Path) -> float:
    """How long all attempts took together; one that was killed counts up to the last line of its log."""
    total, began = 0.0, None
    for note in _notes(workdir):
        if began is not None:
            total += max(note.get("ended") or note["quiet_since"], began) - began
        began = note.get("began")
    return total if began is None else total + max(_last_change(workdir) - began, 0.0)


def gpus_in_use(workdir: Path) -> set[str]:
    """The GPUs that the newest attempt was given."""
    given = [note["gpus"] for note in _notes(workdir) if "gpus" in note]
    return set(given[-1].split(",")) - {""} if given else set()


def last_line(workdir: Path) -> str:
    """The last line of the log that says something, or ""."""
    try:
        with (workdir / LOG).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[int | None]:
    """Holds the variant's lock; yields its file descriptor, for a child to inherit."""
    descriptors, lock = [], None
    try:
        # `running` holds it for a moment, and a run that was called off until it has saved.
        lock = take_lock(workdir / LOCK, timeout=5.0, poll_interval=0.1, on_acquired=descriptors.append)
    except Timeout:
        raise InputError(f"{workdir}: another process runs this variant") from None
    except OSError:  # A cluster's file system without locks; there the queue says what runs.
        pass
    try:
        yield descriptors[0] if descriptors else None
    finally:
        if lock:
            lock.release()


def _notes(workdir: Path) -> list[dict]:
    try:
        lines = (workdir / ATTEMPTS).read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _last_change(workdir: Path) -> float:
    log = workdir / LOG
    return log.stat().st_mtime if log.exists() else 0.0


def _ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
